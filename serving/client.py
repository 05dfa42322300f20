"""A client of a policy server, which chooses the actions.

This module needs the standard library and NumPy alone.
"""

import http.client
import json
import time
import urllib.parse
from typing import Any

import numpy as np

from .encoding import from_json, to_json, unpack_arrays

_IDLE = 30.0  # seconds after which a proxy may have closed a connection, so that it is not reused


class PolicyServerError(RuntimeError):
    """The server answered with an error, whose message is the server's.

    Attributes:
      status: HTTP status.
    """

    def __init__(self, status: int, message: str):
        super().__init__(f"{message} (HTTP {status})")
        self.status = status


class PolicyClient:
    """Plays episodes against a policy server; each thread needs a client of its own.

        client = PolicyClient("http://127.0.0.1:8000")
        episode = client.start_episode()
        observation, _ = env.reset()
        ended = False
        while not ended:
            action = client.get_action(episode, observation)
            observation, reward, terminated, truncated, _ = env.step(action)
            client.log_returns(episode, reward)
            ended = terminated or truncated
        client.end_episode(episode, observation, truncated=truncated)

    `LocalPolicyClient` has the same methods, and chooses the actions itself.

    Args:
      address: Address of the server, such as http://127.0.0.1:8000.
      token: Bearer token, if the server asks for one.
      timeout: Seconds to wait for an answer.

    Raises:
      ValueError: if the address is not one of HTTP.
    """

    def __init__(self, address: str, token: str | None = None, *, timeout: float = 60.0):
        parts = urllib.parse.urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                f"address: expected one such as http://127.0.0.1:8000, got {address!r}"
            )
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self.address = address
        self._connection = kind(parts.hostname, parts.port, timeout=timeout)
        self._prefix = parts.path.rstrip("/") + "/v1"
        self._headers = {"Content-Type": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._last_used = 0.0

    def start_episode(self, training_enabled: bool | None = None) -> str:
        """Starts an episode and returns its id.

        Args:
          training_enabled: True to explore and let the server learn from the episode; None for
            what the server does.
        """
        return self.request("POST", "/episodes", {"training_enabled": training_enabled})[
            "episode_id"
        ]

    def get_action(self, episode_id: str, observation: Any) -> Any:
        """Returns the policy's action: a number, an array, or a dict of these.

        Args:
          episode_id: Id of the episode.
          observation: Observation to act on: arrays, numbers, or dicts of these.
        """
        body = {"observation": to_json(observation)}
        return from_json(self.request("POST", f"/episodes/{episode_id}/action", body)["action"])

    def log_action(self, episode_id: str, observation: Any, action: Any) -> None:
        """Reports an action that the policy did not choose (off policy), and its observation."""
        body = {"observation": to_json(observation), "action": to_json(action)}
        self.request("POST", f"/episodes/{episode_id}/log_action", body)

    def log_returns(self, episode_id: str, reward: float, info: Any = None) -> None:
        """Reports a reward of the last action; several calls add up.

        Args:
          episode_id: Id of the episode.
          reward: Reward, finite in float32.
          info: JSON for the server's log.
        """
        body = {"reward": float(reward), "info": to_json(info)}
        self.request("POST", f"/episodes/{episode_id}/log_returns", body)

    def end_episode(self, episode_id: str, observation: Any, truncated: bool = False) -> None:
        """Ends an episode.

        Args:
          episode_id: Id of the episode.
          observation: Last observation of the episode.
          truncated: True if the episode was cut off, by a time limit say, before its task was over.
        """
        body = {"observation": to_json(observation), "truncated": bool(truncated)}
        self.request("POST", f"/episodes/{episode_id}/end", body)

    def health(self) -> dict[str, Any]:
        """Returns the server's status: version, episodes, mean return and more."""
        return self.request("GET", "/health")

    def specs(self) -> dict[str, Any]:
        """Returns the specs of observations and actions in words: `"float32[4]"`."""
        return self.request("GET", "/specs")

    def get_parameters(self, newer_than: int = -1) -> tuple[int, dict[str, np.ndarray] | None]:
        """Returns the version of the policy's parameters, and their arrays by name.

        Args:
          newer_than: Version that is known; None is returned for its arrays.
        """
        response, data = self._exchange("GET", f"/parameters?newer_than={int(newer_than)}", None)
        version = int(response.headers.get("X-Version", -1))
        return version, None if response.status == 204 else unpack_arrays(data)

    def request(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Sends a request of the server's OpenAPI page, and returns the answer.

        Args:
          method: HTTP method.
          path: Path without its /v1.
          body: JSON to send, or None.

        Raises:
          PolicyServerError: if the server's answer is an error.
          OSError: if there is no answer.
          ValueError: if the body holds NaN or infinity, which JSON cannot.
        """
        return json.loads(self._exchange(method, path, body)[1])

    def close(self) -> None:
        """Closes the connection; the server frees open episodes after a while."""
        self._connection.close()

    def _exchange(
        self, method: str, path: str, body: Any
    ) -> tuple[http.client.HTTPResponse, bytes]:
        try:
            data = None if body is None else json.dumps(body, allow_nan=False).encode()
        except ValueError as error:
            part = path.rpartition("/")[2]
            raise ValueError(f"{part}: the message holds NaN or infinity: {error}") from None
        if time.monotonic() - self._last_used > _IDLE:
            self._connection.close()
        try:
            self._connection.request(method, self._prefix + path, data, self._headers)
            response = self._connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()  # a late answer must not be taken for the next one's
            if isinstance(error, ConnectionRefusedError):
                message = (
                    "connection refused; is a policy server running there? "
                    "jax-agents serve RUN starts one"
                )
                raise ConnectionRefusedError(error.errno, message, self.address) from error
            raise
        self._last_used = time.monotonic()
        if response.status >= 400:
            raise PolicyServerError(response.status, _detail(answer) or response.reason)
        return response, answer


def _detail(answer: bytes) -> str:
    """Returns the message of an error, which a proxy may have written."""
    try:
        return str(json.loads(answer)["detail"])
    except (ValueError, KeyError, TypeError):
        return answer[:200].decode(errors="replace")

"""A client of a policy server; this file needs the standard library and NumPy alone, unless it acts
itself.
"""

import http.client
import io
import json
import time
import urllib.parse
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

_IDLE = 30.0  # seconds after which a connection may have been closed by what is in between, and is not used again


class PolicyServerError(RuntimeError):
    """The server's answer is an error: `status` is HTTP's, the message the server's."""

    def __init__(self, status: int, message: str):
        super().__init__(f"{message} (HTTP {status})")
        self.status = status


class PolicyClient:
    """Drives episodes against a policy server; use one in each thread.

        client = PolicyClient("http://127.0.0.1:8000")
        episode = client.start_episode()
        observation, _ = env.reset()
        ended = False
        while not ended:
            observation, reward, terminated, truncated, _ = env.step(client.get_action(episode, observation))
            client.log_returns(episode, reward)
            ended = terminated or truncated
        client.end_episode(episode, observation, truncated=truncated)

    Args:
      address: the server's, such as http://127.0.0.1:8000.
      token: the server's bearer token, if it asks for one.
      inference: "remote": the server chooses each action. "local": this process does, with
        parameters fetched from the server, and tells the server in batches what it did; needs
        `agent`, and JAX.
      agent: for local inference: built as the server's is.
      log_every: with local inference, the actions in a batch.
      update_interval: with local inference, seconds after which to ask for newer parameters; a
        newer version that the server mentions is fetched at once.
      seed: with local inference, of the policy's draws.
      preprocessor: with local inference, the server's (`PolicyService`), if it has one.
      timeout: seconds to wait for an answer.

    Raises:
      ValueError: an argument that does not suit the others.
    """

    def __init__(
        self,
        address: str,
        token: str | None = None,
        inference: Literal["remote", "local"] = "remote",
        *,
        agent: Any = None,
        log_every: int = 32,
        update_interval: float = 10.0,
        seed: int = 0,
        preprocessor: Any = None,
        timeout: float = 60.0,
    ):
        parts = urllib.parse.urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                f"address: expected one such as http://127.0.0.1:8000, got {address!r}"
            )
        if inference not in ("remote", "local"):
            raise ValueError(f"inference: expected 'remote' or 'local', got {inference!r}")
        if (inference == "local") != (agent is not None):
            raise ValueError(
                "local inference needs agent=..., built as the server's is; remote inference "
                "needs none"
            )
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._connection = kind(parts.hostname, parts.port, timeout=timeout)
        self.address = address
        self._prefix = parts.path.rstrip("/") + "/v1"
        self._headers = {"Content-Type": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._last_used = 0.0
        self._local = None
        if agent is not None:
            from .local_client import LocalInference  # the rest of the library

            self._local = LocalInference(
                self, agent, log_every, update_interval, seed, preprocessor
            )

    def start_episode(self, training_enabled: bool | None = None) -> str:
        """Starts an episode; returns its id.

        Args:
          training_enabled: whether the server learns from it, and explores; None: if the server
            learns at all.
        """
        if self._local is not None:
            return self._local.start_episode(training_enabled)
        return self.request("POST", "/episodes", {"training_enabled": training_enabled})[
            "episode_id"
        ]

    def get_action(self, episode_id: str, observation: Any) -> Any:
        """The policy's action on an observation: NumPy arrays in the action's structure, a Python
        int for one discrete one.
        """
        if self._local is not None:
            return self._local.get_action(episode_id, observation)
        body = {"observation": to_json(observation)}
        return _from_json(self.request("POST", f"/episodes/{episode_id}/action", body)["action"])

    def log_action(self, episode_id: str, observation: Any, action: Any) -> None:
        """Tells the server of an action that it did not choose (off policy)."""
        if self._local is not None:
            self._local.log_action(episode_id, observation, action)
            return
        body = {"observation": to_json(observation), "action": to_json(action)}
        self.request("POST", f"/episodes/{episode_id}/log_action", body)

    def log_returns(self, episode_id: str, reward: float, info: Any = None) -> None:
        """Tells the server what the last action earned; several calls add up. `info` goes to the
        server's log.
        """
        if self._local is not None:
            self._local.log_returns(episode_id, float(reward))
            return
        self.request(
            "POST",
            f"/episodes/{episode_id}/log_returns",
            {"reward": float(reward), "info": to_json(info)},
        )

    def end_episode(self, episode_id: str, observation: Any, truncated: bool = False) -> None:
        """Ends an episode with its last observation; `truncated`: it was cut off (by a time limit),
        its task not over.
        """
        if self._local is not None:
            self._local.flush(episode_id, ended=True)
        body = {"observation": to_json(observation), "truncated": bool(truncated)}
        self.request("POST", f"/episodes/{episode_id}/end", body)

    def health(self) -> dict[str, Any]:
        """How the server does: version, episodes, mean return and more."""
        return self.request("GET", "/health")

    def specs(self) -> dict[str, Any]:
        """What observations and actions look like, in words: `"float32[4]"`."""
        return self.request("GET", "/specs")

    def get_parameters(self, newer_than: int = -1) -> tuple[int, dict[str, np.ndarray] | None]:
        """The version of the policy's parameters, and their arrays by name; None for these if it is
        `newer_than`.
        """
        response, data = self._exchange("GET", f"/parameters?newer_than={int(newer_than)}", None)
        version = int(response.headers.get("X-Version", -1))
        if response.status == 204:
            return version, None
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return version, {name.removeprefix("leaf:"): arrays[name] for name in arrays.files}

    def request(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Any request of the server's OpenAPI page, without its /v1; returns the answer.

        Raises:
          PolicyServerError: the server's answer is an error.
          OSError: there is no answer.
          ValueError: the body holds NaN or infinity, which JSON cannot.
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
            raise ValueError(
                f"{path.rpartition('/')[2]}: there is NaN or infinity in what is to be sent: "
                f"{error}"
            ) from None
        if time.monotonic() - self._last_used > _IDLE:
            self._connection.close()
        try:
            self._connection.request(method, self._prefix + path, data, self._headers)
            response = self._connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()  # a late answer must not be taken for the next one's
            if isinstance(error, ConnectionRefusedError):
                told = "connection refused; is a policy server running there? jax-agents serve RUN starts one"
                raise ConnectionRefusedError(error.errno, told, self.address) from error
            raise
        self._last_used = time.monotonic()
        if response.status >= 400:
            try:
                message = json.loads(answer)["detail"]
            except (ValueError, KeyError, TypeError):
                message = answer[:200].decode(errors="replace") or response.reason
            raise PolicyServerError(response.status, str(message))
        return response, answer


def to_json(tree: Any) -> Any:
    """Dicts, lists, tuples, arrays and numbers as `json.dumps` takes them."""
    if isinstance(tree, Mapping):
        return {str(key): to_json(value) for key, value in tree.items()}
    if isinstance(tree, tuple | list):
        return [to_json(value) for value in tree]
    return np.asarray(tree).tolist() if hasattr(tree, "__array__") else tree


def _from_json(action: Any) -> Any:
    if isinstance(action, dict):
        return {key: _from_json(value) for key, value in action.items()}
    return (
        np.asarray(action, np.float32 if _holds_floats(action) else None)
        if isinstance(action, list)
        else action
    )


def _holds_floats(values: Any) -> bool:
    return (
        any(map(_holds_floats, values)) if isinstance(values, list) else isinstance(values, float)
    )

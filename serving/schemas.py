"""The operations of the server, from which its routes, its checks and its OpenAPI page are made."""

import html
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from ..envs.types import Tree
from .messages import json_schema, object_schema

Schema: TypeAlias = dict[str, Any]

_JSON: Schema = {"type": "object"}
_VERSION: Schema = {
    "type": "integer",
    "description": "version of the parameters that act now: updates since the server began",
}
_DETAIL: Schema = {
    "type": "object",
    "properties": {"detail": {"type": "string"}},
    "required": ["detail"],
}
_TRUNCATED: Schema = {
    "type": "boolean",
    "description": "true: cut off, by a time limit say; false, the default: the task is over",
}
_ARRAYS: Schema = {"schema": {"type": "string", "format": "binary"}}
_EPISODE: Schema = {
    "name": "episode_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
}
_NEWER_THAN: Schema = {
    "name": "newer_than",
    "in": "query",
    "required": False,
    "schema": {"type": "integer"},
    "description": "version that is known: the answer is 204 if there is no newer one",
}
_ERRORS = {
    401: "the token is missing or wrong",
    404: "no such episode is open",
    409: "not now, or not with this server",
    413: "the body is too large",
    415: "the body's content type is not JSON",
    422: "the body is not what was expected",
    429: "too much at a time",
}


class Operation(NamedTuple):
    """An operation that clients may ask for.

    Attributes:
      name: Operation id.
      method: HTTP method.
      path: Path, with the names of its parameters in braces.
      summary: Summary in a few words.
      answer: JSON schema of the answer; None for arrays in NumPy's format.
      body: JSON schema of the body; None if there is no body.
    """

    name: str
    method: str
    path: str
    summary: str
    answer: Schema | None
    body: Schema | None = None

    @property
    def of_episode(self) -> bool:
        """True if the operation is one of an open episode."""
        return "{episode_id}" in self.path

    @property
    def request(self) -> Schema:
        """The OpenAPI description of the parameters and the body."""
        parameters = [_EPISODE] if self.of_episode else []
        if self.answer is None:
            parameters = [_NEWER_THAN]
        described: Schema = {"parameters": parameters} if parameters else {}
        if self.body is not None:
            content = {"application/json": {"schema": self.body}}
            described["requestBody"] = {"required": True, "content": content}
        return described

    def responses(self, token: bool) -> dict[int | str, Schema]:
        """Returns the OpenAPI description of the answers.

        Args:
          token: True if the server asks for a token.
        """
        if self.answer is None:
            content = {"application/octet-stream": _ARRAYS}
        else:
            content = {"application/json": {"schema": self.answer}}
        described: dict[int | str, Schema] = {200: {"description": "done", "content": content}}
        if self.answer is None:
            described[204] = {"description": "there are no newer parameters"}
        for status in sorted(self._errors() | ({401} if token else set())):
            described[status] = {
                "description": _ERRORS[status],
                "content": {"application/json": {"schema": _DETAIL}},
            }
        return described

    def _errors(self) -> set[int]:
        if self.body is None:
            return {422} if self.answer is None else set()
        return {409, 413, 415, 422, 429} | ({404} if self.of_episode else set())


def operations(observation_spec: Tree, action_spec: Tree, info_spec: Tree) -> list[Operation]:
    """Returns all operations of a server.

    Args:
      observation_spec: Spec of the observations that clients send.
      action_spec: Spec of the agent's actions.
      info_spec: Spec of what the agent's collect policy stores with each action.
    """
    observation = json_schema(observation_spec)
    action = json_schema(action_spec)
    return [
        Operation("health", "GET", "/v1/health", "The status of the server", _JSON),
        Operation("specs", "GET", "/v1/specs", "The specs of observations and actions", _JSON),
        Operation(
            "parameters", "GET", "/v1/parameters", "The policy's parameters, as NumPy's .npz", None
        ),
        _start_episode(),
        _of_episode(
            "get_action",
            "action",
            "The policy's action",
            object_schema({"observation": observation}, ["observation"]),
            object_schema({"action": action, "version": _VERSION}, ["action", "version"]),
        ),
        *_logging(observation, action, json_schema(info_spec)),
        _of_episode(
            "end_episode",
            "end",
            "The last observation",
            object_schema({"observation": observation, "truncated": _TRUNCATED}, ["observation"]),
        ),
    ]


def operations_page(title: str, offered: Sequence[Operation]) -> str:
    """Returns a page of HTML that names the operations, for people; it loads nothing.

    Args:
      title: Title of the page.
      offered: Operations of the server.
    """
    rows = "".join(
        f"<tr><td>{html.escape(operation.method)}</td><td><code>{html.escape(operation.path)}"
        f"</code></td><td>{html.escape(operation.summary)}</td></tr>"
        for operation in offered
    )
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title></head><body><h1>{html.escape(title)}</h1>"
        f"<table>{rows}</table>"
        '<p>Bodies and answers: <a href="openapi.json">openapi.json</a></p></body></html>'
    )


def _start_episode() -> Operation:
    training = {"type": ["boolean", "null"], "description": "null: as the server does"}
    started = {
        "episode_id": {"type": "string"},
        "training": {"type": "boolean"},
        "version": _VERSION,
    }
    return Operation(
        "start_episode",
        "POST",
        "/v1/episodes",
        "Start an episode",
        object_schema(started, list(started)),
        object_schema({"training_enabled": training}),
    )


def _logging(observation: Schema, action: Schema, policy_info: Schema) -> list[Operation]:
    info = {"description": "what the agent's collect policy stores with an action"}
    reward = {"type": "number", "description": "reward of the action, if that is known already"}
    logged = object_schema(
        {
            "observation": observation,
            "action": action,
            "policy_info": policy_info | info,
            "reward": reward,
        },
        ["observation", "action"],
    )
    several = object_schema(
        {"actions": {"type": "array", "items": logged}, "version": {"type": "integer"}},
        ["actions"],
    )
    noted = {"description": "anything; written to the server's log at level DEBUG"}
    returns = object_schema({"reward": {"type": "number"}, "info": noted}, ["reward"])
    return [
        _of_episode("log_action", "log_action", "An action that the client chose", logged),
        _of_episode("log_actions", "log_actions", "Several such actions, in order", several),
        _of_episode("log_returns", "log_returns", "A reward of the last action", returns),
    ]


def _of_episode(
    name: str, path: str, summary: str, body: Schema, answer: Schema | None = None
) -> Operation:
    if answer is None:
        answer = object_schema({"version": _VERSION}, ["version"])
    return Operation(name, "POST", f"/v1/episodes/{{episode_id}}/{path}", summary, answer, body)

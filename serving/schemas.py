"""What the server can be asked, as OpenAPI tells it: one description for the routes, the checks and
the page.
"""

from typing import Any, NamedTuple

from ..envs.types import Tree
from .wire import json_schema

_VERSION = {
    "type": "integer",
    "description": "of the parameters that act now: the updates since the server began",
}
_DETAIL = {"type": "object", "properties": {"detail": {"type": "string"}}, "required": ["detail"]}
_TOLD = {
    401: "no token, or another",
    404: "no such episode is open",
    409: "not now, or not with this server",
    413: "the body is too large",
    415: "the body is no JSON by its content type",
    422: "the body is not what was expected",
    429: "too much at a time",
}


class Operation(NamedTuple):
    """One thing a client may ask; `name` is its operation id, `body` the JSON schema of its body
    (None: it has none).
    """

    name: str
    method: str
    path: str
    summary: str
    body: dict[str, Any] | None
    openapi: dict[str, Any]
    responses: dict[int | str, dict[str, Any]]


def operations(
    observation_spec: Tree, action_spec: Tree, info_spec: Tree, token: bool
) -> list[Operation]:
    """All operations of a server.

    Args:
      observation_spec: of what clients send.
      action_spec: of its agent's actions.
      info_spec: of what the agent's collect policy stores with each action.
      token: whether the server asks for one.
    """
    observation, action = json_schema(observation_spec), json_schema(action_spec)
    logged = {
        "observation": observation,
        "action": action,
        "policy_info": json_schema(info_spec)
        | {"description": "what the agent's collect policy stores with an action"},
        "reward": {
            "type": "number",
            "description": "what the action earned, if that is known already",
        },
    }
    start = _object(
        {
            "training_enabled": {
                "type": ["boolean", "null"],
                "description": "null: as the server does",
            }
        }
    )
    get_action = _object({"observation": observation}, "observation")
    log_action = _object(logged, "observation", "action")
    log_actions = _object(
        {"actions": {"type": "array", "items": log_action}, "version": {"type": "integer"}},
        "actions",
    )
    info = {"description": "anything; written to the server's log at level DEBUG"}
    log_returns = _object({"reward": {"type": "number"}, "info": info}, "reward")
    truncated = {
        "type": "boolean",
        "description": "cut off, by a time limit say (true), or over (false, the default)",
    }
    end = _object({"observation": observation, "truncated": truncated}, "observation")
    version = _object({"version": _VERSION}, "version")
    chosen = _object({"action": action, "version": _VERSION}, "action", "version")
    kept = {"episode_id": {"type": "string"}, "training": {"type": "boolean"}, "version": _VERSION}
    started = _object(kept, *kept)
    newer = {"name": "newer_than", "in": "query", "required": False, "schema": {"type": "integer"}}
    newer["description"] = "answer 204, with nothing, if the version is this one"
    arrays = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    rows: list[tuple[Any, ...]] = [
        ("health", "GET", "/v1/health", "How the server does", None, {"type": "object"}),
        (
            "specs",
            "GET",
            "/v1/specs",
            "What observations and actions look like",
            None,
            {"type": "object"},
        ),
        (
            "parameters",
            "GET",
            "/v1/parameters",
            "The policy's parameters, as NumPy's .npz",
            None,
            arrays,
        ),
        ("start_episode", "POST", "/v1/episodes", "Start an episode", start, started),
        (
            "get_action",
            "POST",
            "/v1/episodes/{episode_id}/action",
            "The policy's action",
            get_action,
            chosen,
        ),
        (
            "log_action",
            "POST",
            "/v1/episodes/{episode_id}/log_action",
            "An action of your own",
            log_action,
            version,
        ),
        (
            "log_actions",
            "POST",
            "/v1/episodes/{episode_id}/log_actions",
            "Several of them, in order",
            log_actions,
            version,
        ),
        (
            "log_returns",
            "POST",
            "/v1/episodes/{episode_id}/log_returns",
            "What the action earned",
            log_returns,
            version,
        ),
        (
            "end_episode",
            "POST",
            "/v1/episodes/{episode_id}/end",
            "The last observation",
            end,
            version,
        ),
    ]
    return [
        _operation(*row, token=token, parameters=[newer] if row[0] == "parameters" else [])
        for row in rows
    ]


def _operation(
    name: str,
    method: str,
    path: str,
    summary: str,
    body: dict[str, Any] | None,
    answer: dict[str, Any],
    *,
    token: bool,
    parameters: list[dict[str, Any]],
) -> Operation:
    parameters = list(parameters)
    if "{episode_id}" in path:
        parameters.append(
            {"name": "episode_id", "in": "path", "required": True, "schema": {"type": "string"}}
        )
    openapi: dict[str, Any] = {"parameters": parameters} if parameters else {}
    if body is not None:
        openapi["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": body}},
        }
    content = answer if name == "parameters" else {"application/json": {"schema": answer}}
    responses: dict[int | str, dict[str, Any]] = {200: {"description": "done", "content": content}}
    if name == "parameters":
        responses[204] = {"description": "there are no newer ones"}
    for status in sorted(({401} if token else set()) | _errors(name, body)):
        responses[status] = {
            "description": _TOLD[status],
            "content": {"application/json": {"schema": _DETAIL}},
        }
    return Operation(name, method, path, summary, body, openapi, responses)


def _errors(name: str, body: dict[str, Any] | None) -> set[int]:
    if body is None:
        return {422} if name == "parameters" else set()
    return {409, 413, 415, 422, 429} | (set() if name == "start_episode" else {404})


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }

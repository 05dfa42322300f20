"""The HTTP side of a `PolicyService`: a FastAPI application."""

import contextlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any

from .. import __version__
from ..envs.types import Tree
from . import wire
from .schemas import Operation, operations
from .service import LoggedAction, PolicyService
from .wire import RequestError, WireError

MAX_BODY = 1 << 20  # bytes
INSTALL = 'serving needs FastAPI and uvicorn: pip install "jax-agents[serve]"'


def make_app(
    service: PolicyService,
    *,
    token: str | None = None,
    max_body: int = MAX_BODY,
    on_start: Callable[[], None] | None = None,
) -> Any:
    """The FastAPI application of a service, which it starts and stops; its page is at /docs, its
    OpenAPI at /openapi.json.

    Every answer that is not what was asked for is a 4xx,
    `{"detail": what was expected and what came}`.

    Args:
      service: what to serve, not yet started.
      token: what clients send as `Authorization: Bearer <token>`; None: nothing.
      max_body: the most bytes that a request may have.
      on_start: called when the service has started.

    Raises:
      ImportError: FastAPI is not installed.
    """
    try:
        from fastapi import FastAPI, Request, Response
        from starlette.requests import ClientDisconnect
    except ImportError as error:
        raise ImportError(INSTALL) from error

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        async with service:
            if on_start is not None:
                on_start()
            yield

    agent = type(service.agent).__name__
    app: Any = FastAPI(
        title=f"jax-agents: {agent}", version=__version__, lifespan=lifespan, redoc_url=None
    )
    handlers = _Handlers(service)

    def answer(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
        return Response(json.dumps(content), status, headers, media_type="application/json")

    def endpoint(
        operation: Operation, handle: Callable[..., Awaitable[Any]]
    ) -> Callable[..., Awaitable[Response]]:
        async def respond(request: Request) -> Response:
            try:
                if token is not None and not _authorised(
                    request.headers.get("authorization", ""), token
                ):
                    told = {"detail": "expected the header Authorization: Bearer TOKEN"}
                    return answer(told, 401, {"WWW-Authenticate": "Bearer"})
                body = {}
                if operation.body is not None:
                    body = _checked_body(await _read(request, max_body), request, operation.body)
                result = await handle(body, {**request.query_params, **request.path_params})
            except WireError as error:
                return answer({"detail": str(error)}, 422)
            except RequestError as error:
                return answer({"detail": str(error)}, error.status)
            except ClientDisconnect:  # nobody is there to hear it
                return Response(status_code=400)
            return result if isinstance(result, Response) else answer(result)

        return respond

    for operation in operations(
        service.observation_spec, service.agent.specs.action, service.info_spec, token is not None
    ):
        app.add_api_route(
            operation.path,
            endpoint(operation, getattr(handlers, operation.name)),
            methods=[operation.method],
            operation_id=operation.name,
            summary=operation.summary,
            openapi_extra=operation.openapi,
            responses=operation.responses,
            response_class=Response,
        )
    openapi = app.openapi
    app.openapi = lambda: _with_bearer(openapi()) if token is not None else openapi()
    return app


class _Handlers:
    """What each operation does, from a checked body to an answer that JSON can hold."""

    def __init__(self, service: PolicyService):
        self._service = service
        self._specs = {
            "observation": service.observation_spec,
            "action": service.agent.specs.action,
        }
        self._info_spec = service.info_spec

    async def health(self, body: dict[str, Any], where: dict[str, str]) -> dict[str, Any]:
        return self._service.health()

    async def specs(self, body: dict[str, Any], where: dict[str, str]) -> dict[str, Any]:
        told = {name: wire.to_text(spec) for name, spec in self._specs.items()}
        return told | {
            "policy_info": wire.to_text(self._info_spec),
            "agent": type(self._service.agent).__name__,
        }

    async def parameters(self, body: dict[str, Any], where: dict[str, str]) -> Any:
        from fastapi import Response

        newer_than = where.get("newer_than", "-1")
        try:
            known = int(newer_than[:20])
        except ValueError:
            raise WireError(
                f"newer_than: expected a whole number, got {newer_than[:40]!r}"
            ) from None
        version, arrays = self._service.parameters()
        headers = {"X-Version": str(version)}
        if version == known:
            return Response(status_code=204, headers=headers)
        return Response(arrays, media_type="application/octet-stream", headers=headers)

    async def start_episode(self, body: dict[str, Any], where: dict[str, str]) -> dict[str, Any]:
        training = body.get("training_enabled")
        if not isinstance(training, bool | None):
            raise WireError(f"training_enabled: expected true, false or null, got {training!r:.40}")
        return self._service.describe(self._service.start_episode(training))

    async def get_action(self, body: dict[str, Any], where: dict[str, str]) -> dict[str, Any]:
        action, version = await self._service.get_action(
            where["episode_id"], self._observation(body)
        )
        return {"action": wire.to_json(action), "version": version}

    async def log_action(self, body: dict[str, Any], where: dict[str, str]) -> dict[str, Any]:
        await self._service.log_actions(where["episode_id"], [self._logged(body)])
        return {"version": self._service.version}

    async def log_actions(self, body: dict[str, Any], where: dict[str, str]) -> dict[str, Any]:
        actions, version = body["actions"], body.get("version")
        if not isinstance(actions, list) or not all(isinstance(action, dict) for action in actions):
            raise WireError("actions: expected an array of objects")
        if isinstance(version, bool) or not isinstance(version, int | None):
            raise WireError(f"version: expected a whole number, got {version!r:.40}")
        await self._service.log_actions(
            where["episode_id"], [self._logged(action) for action in actions], version
        )
        return {"version": self._service.version}

    async def log_returns(self, body: dict[str, Any], where: dict[str, str]) -> dict[str, Any]:
        self._service.log_returns(
            where["episode_id"], wire.number(body["reward"], "reward"), body.get("info")
        )
        return {"version": self._service.version}

    async def end_episode(self, body: dict[str, Any], where: dict[str, str]) -> dict[str, Any]:
        truncated = body.get("truncated", False)
        if not isinstance(truncated, bool):
            raise WireError(f"truncated: expected true or false, got {truncated!r:.40}")
        await self._service.end_episode(where["episode_id"], self._observation(body), truncated)
        return {"version": self._service.version}

    def _observation(self, body: dict[str, Any]) -> Tree:
        value, spec = wire.required(body, "observation"), self._specs["observation"]
        return self._service.preprocess(wire.from_json(value, spec, "observation", bounded=False))

    def _logged(self, body: dict[str, Any]) -> LoggedAction:
        _check_keys(body, ("observation", "action", "policy_info", "reward"))
        action = wire.from_json(wire.required(body, "action"), self._specs["action"], "action")
        info = body.get("policy_info")
        info = None if info is None else wire.from_json(info, self._info_spec, "policy_info")
        return LoggedAction(
            self._observation(body), action, info, wire.number(body.get("reward", 0.0), "reward")
        )


def _authorised(header: str, token: str) -> bool:
    return hmac.compare_digest(header.encode(), f"Bearer {token}".encode())


async def _read(request: Any, max_body: int) -> bytes:
    """The body; one that is too large is read on for a while, and forgotten, so that its sender
    gets to see the answer.
    """
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size <= max_body:
            parts.append(part)
        elif size > 64 * max_body:
            break
    if size > max_body:
        raise RequestError(
            413, f"body: expected at most {max_body} bytes, got {size} or more; send less at a time"
        )
    return b"".join(parts)


def _checked_body(data: bytes, request: Any, schema: dict[str, Any]) -> dict[str, Any]:
    # A page in a browser may send text anywhere, but JSON only where it is asked to.
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if data and kind != "application/json":
        raise RequestError(
            415, f"content-type: expected application/json, got {kind[:60] or 'none'}"
        )
    body = wire.loads(data)
    _check_keys(body, schema["properties"])
    for key in schema["required"]:
        wire.required(body, key)
    return body


def _check_keys(body: dict[str, Any], known: Collection[str]) -> None:
    unknown = [key for key in body if key not in known]
    if unknown:
        raise WireError(f"{unknown[0][:60]}: not known here; expected {sorted(known)}")


def _with_bearer(schema: dict[str, Any]) -> dict[str, Any]:
    schema.setdefault("components", {})["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"}
    }
    schema["security"] = [{"bearer": []}]
    return schema

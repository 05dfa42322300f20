"""The HTTP side of a `PolicyService`: a FastAPI application."""

import contextlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from .. import __version__
from ..envs.types import Tree
from .encoding import to_json
from .episodes import LoggedAction
from .messages import (
    MessageError,
    RequestError,
    check_keys,
    parse,
    parse_number,
    parse_object,
    to_text,
)
from .schemas import Operation, operations, operations_page
from .service import PolicyService

if TYPE_CHECKING:
    from fastapi import FastAPI, Request

MAX_BODY = 1 << 20  # bytes
_ALONE = {"Content-Security-Policy": "default-src 'none'"}  # browsers load nothing for the page
INSTALL = 'serving needs FastAPI and uvicorn: pip install "jax-agents[serve]"'

Body: TypeAlias = dict[str, Any]
Parameters: TypeAlias = dict[str, str]  # of the path and the query


class Answer(NamedTuple):
    """An answer to a request.

    Attributes:
      content: Body of the answer.
      status: HTTP status.
      headers: Headers besides the content type.
      media_type: Content type; None for an answer without content.
    """

    content: bytes
    status: int = 200
    headers: dict[str, str] | None = None
    media_type: str | None = "application/json"


def make_app(
    service: PolicyService,
    *,
    token: str | None = None,
    max_body: int = MAX_BODY,
    on_start: Callable[[], None] | None = None,
) -> "FastAPI":
    """Makes the FastAPI application of a service, which it starts and stops.

    Its page is at /docs, and its OpenAPI description at /openapi.json. The page needs nothing from
    elsewhere. A request that cannot be
    served is answered with a 4xx and `{"detail": what was expected and what came}`.

    Args:
      service: Service that has not been started.
      token: Token that clients send as `Authorization: Bearer <token>`, of printable ASCII; None
        for no token.
      max_body: Greatest number of bytes in a request.
      on_start: Function called when the service has started.

    Raises:
      ValueError: if the token is empty, or no header could carry it.
      ImportError: if FastAPI is not installed.
    """
    check_token(token)
    try:
        from fastapi import FastAPI, Request, Response
        from starlette.requests import ClientDisconnect
    except ImportError as error:
        raise ImportError(INSTALL) from error

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with service:
            if on_start is not None:
                on_start()
            yield

    def endpoint(operation: Operation) -> Callable[[Request], Awaitable[Response]]:
        async def respond(request: Request) -> Response:
            try:
                answer = await handlers.answer(operation, request)
            except ClientDisconnect:  # nobody is there to hear it
                return Response(status_code=400)
            return Response(
                answer.content, answer.status, answer.headers, media_type=answer.media_type
            )

        return respond

    handlers = _Handlers(service, token, max_body)
    title = f"jax-agents: {type(service.agent).__name__}"
    # FastAPI's own pages load scripts from elsewhere.
    app = FastAPI(
        title=title, version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    offered = operations(service.observation_spec, service.agent.specs.action, service.info_spec)
    page = operations_page(title, offered)

    async def docs(request: Request) -> Response:
        return Response(page, media_type="text/html", headers=_ALONE)

    app.add_route("/docs", docs, include_in_schema=False)
    for operation in offered:
        app.add_api_route(
            operation.path,
            endpoint(operation),
            methods=[operation.method],
            operation_id=operation.name,
            summary=operation.summary,
            openapi_extra=operation.request,
            responses=operation.responses(token is not None),
            response_class=Response,
        )
    if token is not None:
        openapi = app.openapi
        app.openapi = lambda: _with_bearer(openapi())  # type: ignore[method-assign]
    return app


def check_token(token: str | None) -> None:
    """Raises a ValueError if a token protects nothing, or no header could carry it."""
    if token is None:
        return
    if not token:
        raise ValueError("token: expected a secret, got an empty text; give one, or leave it out")
    if not all("!" <= character <= "~" for character in token):
        raise ValueError(
            "token: expected printable ASCII without spaces, which a header can carry; give another"
        )


class _Handlers:
    """Answers requests: one method for each operation, from a checked body to JSON or an answer."""

    def __init__(self, service: PolicyService, token: str | None, max_body: int):
        self._service = service
        self._token = token
        self._max_body = max_body

    async def answer(self, operation: Operation, request: "Request") -> Answer:
        """Checks a request, and answers it or says what is wrong with it."""
        try:
            self._check_token(request)
            body = {}
            if operation.body is not None:
                body = _parse_body(await _read(request, self._max_body), request, operation.body)
            handle = getattr(self, operation.name)
            result = await handle(body, {**request.query_params, **request.path_params})
        except MessageError as error:
            return _refusal(422, str(error))
        except RequestError as error:
            return _refusal(error.status, str(error))
        return result if isinstance(result, Answer) else Answer(json.dumps(result).encode())

    async def health(self, body: Body, parameters: Parameters) -> Body:
        return self._service.health()

    async def specs(self, body: Body, parameters: Parameters) -> Body:
        return {
            "observation": to_text(self._service.observation_spec),
            "action": to_text(self._service.agent.specs.action),
            "policy_info": to_text(self._service.info_spec),
            "agent": type(self._service.agent).__name__,
        }

    async def parameters(self, body: Body, parameters: Parameters) -> Answer:
        newer_than = parameters.get("newer_than", "-1")
        try:
            known = int(newer_than[:20])
        except ValueError:
            raise MessageError(
                f"newer_than: expected a whole number, got {newer_than[:40]!r}"
            ) from None
        version, arrays = self._service.parameters()
        headers = {"X-Version": str(version)}
        if version == known:
            return Answer(b"", 204, headers, media_type=None)
        return Answer(arrays, headers=headers, media_type="application/octet-stream")

    async def start_episode(self, body: Body, parameters: Parameters) -> Body:
        training = body.get("training_enabled")
        if not isinstance(training, bool | None):
            raise MessageError(
                f"training_enabled: expected true, false or null, got {training!r:.40}"
            )
        return self._service.describe(self._service.start_episode(training))

    async def get_action(self, body: Body, parameters: Parameters) -> Body:
        action, version = await self._service.get_action(
            parameters["episode_id"], self._observation(body)
        )
        return {"action": to_json(action), "version": version}

    async def log_action(self, body: Body, parameters: Parameters) -> Body:
        return await self.log_actions({"actions": [body]}, parameters)

    async def log_actions(self, body: Body, parameters: Parameters) -> Body:
        actions = body["actions"]
        version = body.get("version")
        if not isinstance(actions, list) or not all(isinstance(action, dict) for action in actions):
            raise MessageError("actions: expected an array of objects")
        if isinstance(version, bool) or not isinstance(version, int | None):
            raise MessageError(f"version: expected a whole number, got {version!r:.40}")
        logged = [self._logged(action) for action in actions]
        await self._service.log_actions(parameters["episode_id"], logged, version)
        return self._version()

    async def log_returns(self, body: Body, parameters: Parameters) -> Body:
        reward = parse_number(body["reward"], "reward", self._service.max_magnitude)
        self._service.log_returns(parameters["episode_id"], reward, body.get("info"))
        return self._version()

    async def end_episode(self, body: Body, parameters: Parameters) -> Body:
        truncated = body.get("truncated", False)
        if not isinstance(truncated, bool):
            raise MessageError(f"truncated: expected true or false, got {truncated!r:.40}")
        observation = self._observation(body)
        await self._service.end_episode(parameters["episode_id"], observation, truncated)
        return self._version()

    def _version(self) -> Body:
        return {"version": self._service.version}

    def _observation(self, body: Body) -> Tree:
        spec = self._service.observation_spec
        limit = self._service.max_magnitude
        return self._service.preprocess(
            parse(body["observation"], spec, "observation", bounded=False, limit=limit)
        )

    def _logged(self, body: Body) -> LoggedAction:
        check_keys(
            body,
            known=("observation", "action", "policy_info", "reward"),
            required=("observation", "action"),
        )
        info = body.get("policy_info")
        return LoggedAction(
            self._observation(body),
            parse(body["action"], self._service.agent.specs.action, "action"),
            None if info is None else parse(info, self._service.info_spec, "policy_info"),
            parse_number(body.get("reward", 0.0), "reward", self._service.max_magnitude),
        )

    def _check_token(self, request: "Request") -> None:
        if self._token is None:
            return
        # The scheme is of any case (RFC 7235, section 2.1), and the comparison takes as long
        # whatever was given.
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(given.strip().encode(), self._token.encode())
        if scheme.lower() != "bearer" or not same:
            raise RequestError(401, "expected the header Authorization: Bearer TOKEN")


def _refusal(status: int, message: str) -> Answer:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return Answer(json.dumps({"detail": message}).encode(), status, headers)


async def _read(request: "Request", max_body: int) -> bytes:
    """Returns the body.

    One that is too large is read for a while and dropped, so that its sender sees the answer.
    """
    parts: list[bytes] = []
    size = 0
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


def _parse_body(data: bytes, request: "Request", schema: dict[str, Any]) -> Body:
    # A page in a browser may send text anywhere, but JSON only where it is asked to.
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if data and kind != "application/json":
        raise RequestError(
            415, f"content-type: expected application/json, got {kind[:60] or 'none'}"
        )
    body = parse_object(data)
    check_keys(body, schema["properties"], schema["required"])
    return body


def _with_bearer(schema: dict[str, Any]) -> dict[str, Any]:
    schema.setdefault("components", {})["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"}
    }
    schema["security"] = [{"bearer": []}]
    return schema

"""The HTTP side: every wrong request gets a 4xx that says what was expected, whatever is thrown at
it.
"""

import collections
import concurrent.futures
import hmac
import http.client
import json
import math
import random
import re

import numpy as np
import pytest

from jax_agents import envs, replay
from jax_agents.envs.types import PolicyStep
from jax_agents.serving import (
    PolicyClient,
    PolicyService,
    ReplayLearning,
    make_app,
    serve_in_background,
)
from jax_agents.serving.schemas import operations

TOKEN = "sesame"


def always_one(params, requests):
    """Stands for a policy."""
    return PolicyStep(np.ones(len(requests.step), np.int32))


@pytest.fixture(scope="module")
def served(dqn):
    """A server that learns, asks for a token and takes bodies of 20 kB; with its service."""
    agent, state = dqn
    buffer = replay.HostReplay(agent.collect_data_spec, capacity=10_000)
    learning = ReplayLearning(agent, state, buffer, warmup_steps=10**6)
    service = PolicyService(
        agent, learning=learning, max_batch_size=4, max_episodes=200, act=always_one
    )
    with serve_in_background(service, token=TOKEN, max_body=20_000) as address:
        yield address, service


class Raw:
    """Sends anything at all; reconnects where the server hung up."""

    def __init__(self, address):
        self.connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)

    def __call__(self, method, path, body=None, **headers):
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"} | headers
        headers = {
            name.replace("_", "-"): value for name, value in headers.items() if value is not None
        }
        for attempt in range(2):
            try:
                self.connection.request(method, path, body, headers)
                response = self.connection.getresponse()
                return response.status, response.read()
            except (ConnectionError, http.client.HTTPException):
                self.connection.close()
                if attempt:
                    raise
        return None

    def json(self, method, path, body=None, **headers):
        status, answer = self(method, path, None if body is None else json.dumps(body), **headers)
        return status, json.loads(answer)


@pytest.fixture
def raw(served):
    return Raw(served[0])


@pytest.fixture
def episode(raw):
    _, started = raw.json("POST", "/v1/episodes", {})
    yield f"/v1/episodes/{started['episode_id']}"
    raw.json("POST", f"/v1/episodes/{started['episode_id']}/end", {"observation": [0, 0, 0, 0]})


def test_an_episode_by_hand(raw):
    status, started = raw.json("POST", "/v1/episodes", {"training_enabled": True})
    assert status == 200 and started["training"] is True and started["version"] == 0
    path = f"/v1/episodes/{started['episode_id']}"
    assert raw.json("POST", f"{path}/action", {"observation": [0, 0.5, 0, 1]}) == (
        200,
        {"action": 1, "version": 0},
    )
    assert (
        raw.json("POST", f"{path}/log_returns", {"reward": 1, "info": {"any": ["thing"]}})[0] == 200
    )
    assert (
        raw.json("POST", f"{path}/log_action", {"observation": [0, 0, 0, 0], "action": 0})[0] == 200
    )
    logged = [{"observation": [0, 0, 0, 0], "action": 1, "reward": 2.0}] * 2
    assert raw.json("POST", f"{path}/log_actions", {"actions": logged, "version": 0})[0] == 200
    assert (
        raw.json("POST", f"{path}/end", {"observation": [0, 0, 0, 0], "truncated": True})[0] == 200
    )
    status, health = raw.json("GET", "/v1/health")
    assert status == 200 and health["episodes_finished"] >= 1
    assert raw.json("GET", "/v1/specs")[1]["action"] == "int32[] in 0..1"
    status, arrays = raw("GET", "/v1/parameters")
    assert status == 200 and arrays[:2] == b"PK"
    assert raw("GET", "/v1/parameters?newer_than=0") == (204, b"")
    raw.connection.request("GET", "/docs")
    page = raw.connection.getresponse().read().decode()
    assert "/v1/episodes/{episode_id}/action" in page
    # it loads nothing, least of all scripts from elsewhere
    assert not re.search(r"(?i)<script|<link|<img|<iframe|src=|https?://|@import", page)


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        (
            "action",
            {"observation": [0, 0, 0]},
            422,
            "observation: expected float32[4], got an array, int64[3]",
        ),
        (
            "action",
            '{"observation": [0, 0, 0, NaN]}',
            422,
            "observation: 1 of 4 numbers are NaN or infinite",
        ),
        ("action", '{"observation": [0, 0, 0, 1e999]}', 422, "NaN or infinite"),
        ("action", {}, 422, "observation: missing"),
        (
            "action",
            {"observation": [0] * 4, "obs": 1},
            422,
            "obs: not known here; expected ['observation']",
        ),
        ("action", "[]", 422, "body: expected a JSON object, got an array"),
        ("action", b"\xff\xfe", 422, "not JSON"),
        ("action", "[" * 15_000, 422, "not JSON"),
        ("action", b"x" * 30_000, 413, "body: expected at most 20000 bytes"),
        (
            "log_action",
            {"observation": [0] * 4, "action": 2},
            422,
            "action: 1 of 1 numbers lie outside 0..1: [2]",
        ),
        ("log_action", {"observation": [0] * 4}, 422, "action: missing"),
        ("log_actions", {"actions": {}}, 422, "actions: expected an array of objects"),
        ("log_actions", {"actions": [{"observation": [0] * 4, "action": 0}, {}]}, 422, "missing"),
        (
            "log_actions",
            {"actions": [{"observation": [0] * 4, "action": 0, "rewards": 1}]},
            422,
            "rewards: not known here",
        ),
        (
            "log_actions",
            {"actions": [], "version": 1.5},
            422,
            "version: expected a whole number, got 1.5",
        ),
        ("log_returns", {"reward": "1"}, 422, "reward: expected a finite number, got a string"),
        ("log_returns", '{"reward": Infinity}', 422, "reward: expected a finite number, got inf"),
        (
            "end",
            {"observation": [0] * 4, "truncated": 1},
            422,
            "truncated: expected true or false, got 1",
        ),
    ],
)
def test_what_is_wrong_is_named(raw, episode, path, body, status, message):
    got, answer = raw(
        "POST", f"{episode}/{path}", body if isinstance(body, str | bytes) else json.dumps(body)
    )
    assert got == status and message in json.loads(answer)["detail"]
    assert (
        raw.json("POST", f"{episode}/action", {"observation": [0] * 4})[0] == 200
    )  # and nothing is broken


def test_a_batch_of_logged_actions_counts_as_a_whole(raw, episode, served):
    before = served[1].num_steps
    body = {
        "actions": [{"observation": [0] * 4, "action": 0}, {"observation": [0] * 4, "action": 9}]
    }
    assert raw.json("POST", f"{episode}/log_actions", body)[0] == 422
    assert served[1].num_steps == before


def test_tokens_are_compared_in_a_time_that_tells_nothing(raw, monkeypatch):
    compared = []
    same = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda *both: compared.append(both) or same(*both))
    for given, status in (("sesam", 401), (TOKEN, 200)):
        assert raw("GET", "/v1/health", Authorization=f"Bearer {given}")[0] == status
    assert compared == [(b"sesam", b"sesame"), (b"sesame", b"sesame")]


def test_who_may_ask(raw, episode):
    for header in (None, "Bearer", "Bearer wrong", f"Basic {TOKEN}", "Bearer séame"):
        header = header and header.encode("latin-1")
        status, answer = raw("POST", "/v1/episodes", "{}", Authorization=header)
        assert status == 401 and b"Authorization: Bearer" in answer
    for scheme in ("bearer", "BEARER", "Bearer "):  # RFC 7235: of any case
        assert raw("GET", "/v1/health", Authorization=f"{scheme} {TOKEN}")[0] == 200
    assert raw("POST", f"{episode}/action", "{}", Authorization=None)[0] == 401
    assert raw("GET", "/v1/health", Authorization=None)[0] == 401
    assert raw("GET", "/openapi.json", Authorization=None)[0] == 200


def test_only_json_and_only_what_there_is(raw):
    status, message = raw.json("POST", "/v1/episodes", {}, Content_Type="text/plain")
    assert status == 415 and "expected application/json, got text/plain" in message["detail"]
    assert raw("POST", "/v1/episodes/none/action", '{"observation": [0, 0, 0, 0]}')[0] == 404
    assert raw("GET", "/v1/nothing")[0] == 404
    assert raw("DELETE", "/v1/episodes")[0] == 405
    assert raw("GET", "/v1/parameters?newer_than=x")[0] == 422


def test_a_huge_body_is_refused_while_it_is_sent(raw, episode):
    parts = (b"x" * 10_000 for _ in range(10))  # chunked: no length is announced
    assert raw("POST", f"{episode}/action", parts)[0] == 413


class Generator:
    """Requests from an OpenAPI description: many as it says, many almost, and some nothing like
    it.
    """

    ODD = (
        *(
            None,
            True,
            -1,
            0,
            1.5,
            1e308,
            -1e-320,
            2**31,
            2**63,
            10**400,
            math.nan,
            -math.inf,
            "",
            "0",
            "\ud800",
            "é" * 50,
        ),
        *([], {}, [[]], [None], {"": None}, [[[[0]]]], [1, [2]], {"observation": {}}),
    )

    def __init__(self, schema, seed):
        self.random = random.Random(seed)
        self.operations = [
            (method.upper(), path, operation)
            for path, item in schema["paths"].items()
            for method, operation in item.items()
        ]
        self.episodes = ["nothing"]

    def request(self):
        method, path, operation = self.random.choice(self.operations)
        path = path.replace(
            "{episode_id}", self.random.choice([*self.episodes[-5:], "%00", "x" * 300, "..%2f"])
        )
        where = operation.get("parameters", [{}])[0].get("in")
        if where == "query" and self.random.random() < 0.7:
            versions = ["0", "-5", "1e3", "9" * 30, "", "a%20b", "%ff"]
            path += f"?newer_than={self.random.choice(versions)}"
        elif self.random.random() < 0.1:
            queries = ["episode_id=x", "body=1", "where=", "&&=", "self", "%ed%a0%80=%00"]
            path += f"?{self.random.choice(queries)}"
        if "requestBody" not in operation:
            return operation["operationId"], method, path, None, {}
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        body = json.dumps(self.value(schema, self.random.choice([0.0, 0.0, 0.05, 0.3]))).encode()
        if self.random.random() < 0.1:
            cut = self.random.randrange(len(body) + 1)
            body = self.random.choice(
                [
                    body[:cut],
                    body[:cut] + self.random.randbytes(5),
                    b"",
                    b"[" * 9_000,
                    b"9" * 19_000,
                ]
            )
        headers = {
            "Content_Type": self.random.choice(["text/xml", None, "application/json;charset=x"])
        }
        return (
            operation["operationId"],
            method,
            path,
            body,
            headers if self.random.random() < 0.1 else {},
        )

    def value(self, schema, oddness):
        if self.random.random() < oddness:
            return self.random.choice(self.ODD)
        kind = schema.get("type", "object")
        if isinstance(kind, list):
            kind = self.random.choice(kind)
        if kind == "object":
            needed = schema.get("required", ())
            parts = dict(schema.get("properties", {}))
            if self.random.random() < oddness / 2:
                parts[self.random.choice(["\ud800", "self", "", "x" * 500, "__class__"])] = {
                    "type": "null"
                }
            return {
                name: self.value(part, oddness)
                for name, part in parts.items()
                if name in needed or self.random.random() < 0.4
            }
        if kind == "array":
            items = schema.get("prefixItems")
            if items is not None:
                return [self.value(item, oddness) for item in items]
            size = self.random.randint(schema.get("minItems", 0), schema.get("maxItems", 3))
            return [self.value(schema["items"], oddness) for _ in range(size)]
        if kind == "integer":
            return self.random.randint(schema.get("minimum", -3), schema.get("maximum", 3))
        if kind == "number":
            return self.random.gauss(0, 1) * 10 ** self.random.randint(-3, 3)
        return {"boolean": self.random.random() < 0.5, "string": "text", "null": None}[kind]


def fuzz(address, count, seed):
    """Sends requests made from the server's own description; returns how often each (operation,
    status) came.
    """
    raw, counts = Raw(address), collections.Counter()
    generator = Generator(json.loads(raw("GET", "/openapi.json")[1]), seed)
    for _ in range(count):
        name, method, path, body, headers = generator.request()
        status, answer = raw(method, path, body, **headers)
        counts[name, status] += 1
        assert status < 500, (method, path, body, headers, answer)
        if status >= 400:
            assert json.loads(answer)["detail"], (method, path, body, answer)
        elif name == "start_episode":
            generator.episodes.append(json.loads(answer)["episode_id"])
    return counts


def check_fuzzed(counts):
    names = {name for name, _ in counts}
    assert names == {
        operation.name for operation in operations(envs.ArraySpec((4,)), envs.DiscreteSpec(2), ())
    }
    for name in names - {"health", "specs"}:  # both sides of each were seen
        assert any(status < 300 for n, status in counts if n == name), name
        assert any(400 <= status < 500 for n, status in counts if n == name), name


def test_requests_fuzzed_from_the_description(served):
    check_fuzzed(fuzz(served[0], 600, seed=0))
    assert PolicyClient(served[0], TOKEN).health()["status"] == "serving"


@pytest.mark.nightly
def test_ten_thousand_fuzzed_requests(served):
    """Last run: no 5xx among 10,000 answers, 4,127 of them good ones."""
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        counts = sum(
            pool.map(lambda seed: fuzz(served[0], 2_500, seed), range(1, 5)), collections.Counter()
        )
    assert sum(counts.values()) == 10_000
    check_fuzzed(counts)
    statuses = collections.Counter()
    for (_, status), count in counts.items():
        statuses[status] += count
    print(dict(statuses))


def test_without_fastapi(dqn, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "fastapi", None)
    with pytest.raises(ImportError, match=r'pip install "jax-agents\[serve\]"'):
        make_app(PolicyService(*dqn))

"""The operations of a server and their OpenAPI descriptions."""

import numpy as np
import pytest

from jax_agents.envs.specs import ArraySpec, DiscreteSpec
from jax_agents.serving.app import _Handlers
from jax_agents.serving.schemas import operations


@pytest.fixture
def named():
    found = operations(ArraySpec((4,)), DiscreteSpec(2), {"log_prob": ArraySpec(())})
    return {operation.name: operation for operation in found}


def test_each_operation_has_a_handler_and_a_path_of_its_own(named):
    assert all(callable(getattr(_Handlers, name)) for name in named)
    assert len({(operation.method, operation.path) for operation in named.values()}) == 9
    assert named["get_action"].path == "/v1/episodes/{episode_id}/action"
    assert named["end_episode"].path == "/v1/episodes/{episode_id}/end"


def test_bodies_are_described_by_the_specs(named):
    action = named["get_action"].body
    assert action["required"] == ["observation"] and not action["additionalProperties"]
    assert action["properties"]["observation"]["maxItems"] == 4
    logged = named["log_actions"].body["properties"]["actions"]["items"]
    assert logged == named["log_action"].body
    assert logged["properties"]["action"]["maximum"] == 1
    assert list(logged["properties"]["policy_info"]["properties"]) == ["log_prob"]
    assert named["health"].body is None and "requestBody" not in named["health"].request


def test_parameters_of_paths_and_queries(named):
    assert [p["name"] for p in named["log_returns"].request["parameters"]] == ["episode_id"]
    assert [p["name"] for p in named["parameters"].request["parameters"]] == ["newer_than"]
    assert "parameters" not in named["start_episode"].request


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("health", [200]),
        ("parameters", [200, 204, 422]),
        ("start_episode", [200, 409, 413, 415, 422, 429]),
        ("get_action", [200, 404, 409, 413, 415, 422, 429]),
    ],
)
def test_answers(named, name, statuses):
    assert sorted(named[name].responses(token=False)) == statuses
    with_token = named[name].responses(token=True)
    assert sorted(with_token) == sorted([*statuses, 401])
    assert all(answer["description"] for answer in with_token.values())
    content = with_token[200]["content"]
    kind = "application/octet-stream" if name == "parameters" else "application/json"
    assert list(content) == [kind]
    assert np.all(["detail" in str(with_token[s]) for s in with_token if s >= 400])

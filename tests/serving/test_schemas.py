"""The operations of a server, and what its page says of their answers."""

import pytest

from jax_agents.envs import classic
from jax_agents.serving.schemas import operations

SPECS = classic.CartPole().specs
OPERATIONS = {o.name: o for o in operations(SPECS.observation, SPECS.action, ())}


def test_each_operation_has_a_path_of_its_own():
    paths = [(operation.method, operation.path) for operation in OPERATIONS.values()]
    assert len(set(paths)) == len(OPERATIONS) == 9
    assert OPERATIONS["get_action"].of_episode and not OPERATIONS["start_episode"].of_episode


def test_the_specs_are_in_the_bodies_and_answers():
    get_action = OPERATIONS["get_action"]
    observation = get_action.body["properties"]["observation"]
    assert get_action.body["required"] == ["observation"]
    assert observation["minItems"] == observation["maxItems"] == 4
    action = get_action.answer["properties"]["action"]
    assert (action["minimum"], action["maximum"]) == (0, 1)
    assert get_action.request["requestBody"]["required"]
    assert get_action.request["parameters"][0]["name"] == "episode_id"


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("health", {200}),
        ("parameters", {200, 204, 422}),
        ("start_episode", {200, 409, 413, 415, 422, 429}),
        ("log_returns", {200, 404, 409, 413, 415, 422, 429}),
    ],
)
def test_answers_that_each_may_give(name, statuses):
    assert set(OPERATIONS[name].responses(token=False)) == statuses
    assert set(OPERATIONS[name].responses(token=True)) == statuses | {401}

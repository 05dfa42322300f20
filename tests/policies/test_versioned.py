import jax
import numpy as np
import pytest

from jax_agents.envs.specs import (
    ArraySpec,
    DiscreteSpec,
    EnvironmentSpecs,
    trajectory_spec,
    validate,
)
from jax_agents.envs.types import PolicyStep, TimeStep
from jax_agents.policies import RandomPolicy, VersionedPolicy, with_version

SPECS = EnvironmentSpecs(ArraySpec((2,)), DiscreteSpec(5))


class Noting:
    """Counts in its state, and stores what it was told."""

    def initial_state(self, batch_shape=()):
        return np.zeros(batch_shape, np.int32)

    def distribution(self, params, time_step, state=()):
        return PolicyStep("a distribution", state)

    def action(self, params, time_step, state=(), key=None):
        return PolicyStep(
            np.zeros(time_step.step_type.shape, np.int32), state + 1, {"told": params["told"]}
        )


def time_step(*shape):
    return TimeStep(
        np.ones(shape, np.int32), np.zeros(shape), np.ones(shape), np.zeros((*shape, 2), np.float32)
    )


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_rows_store_the_version_and_actions_stay_as_they_are(shape):
    policy, key = RandomPolicy(SPECS.action), jax.random.key(0)
    step = VersionedPolicy(policy).action({"version": np.int32(7)}, time_step(*shape), (), key)
    np.testing.assert_array_equal(step.action, policy.action({}, time_step(*shape), (), key).action)
    np.testing.assert_array_equal(step.info["version"], np.full(shape, 7))
    validate(step.info, with_version(trajectory_spec(SPECS)).policy_info, batch_ndim=len(shape))


def test_what_the_policy_stores_and_remembers_stays():
    policy, params = VersionedPolicy(Noting()), {"told": 5, "version": np.int32(7)}
    step = policy.action(params, time_step(4), policy.initial_state((4,)))
    assert (
        step.info["told"] == 5
        and step.info["version"].tolist() == [7] * 4
        and step.state.tolist() == [1] * 4
    )
    assert policy.distribution(params, time_step(4)).action == "a distribution"
    spec = trajectory_spec(SPECS, {"told": ArraySpec(())})
    assert set(with_version(spec).policy_info) == {"told", "version"} and set(spec.policy_info) == {
        "told"
    }

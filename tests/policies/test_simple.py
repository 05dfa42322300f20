"""Random and scripted policies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.envs.specs import ArraySpec, BoundedSpec, DiscreteSpec
from jax_agents.envs.types import StepType, TimeStep
from jax_agents.policies import RandomPolicy, ScriptedPolicy


def time_step(batch=(), observation=0.0):
    tile = lambda x: jnp.broadcast_to(jnp.asarray(x), batch + np.shape(x))
    return TimeStep(
        jnp.full(batch, StepType.MID),
        jnp.zeros(batch),
        jnp.ones(batch),
        jax.tree.map(tile, observation),
    )


def draw(policy, step, seed=0):
    return policy.action((), step, policy.initial_state(), jax.random.key(seed)).action


def test_random_discrete_actions_are_uniform():
    policy = RandomPolicy(DiscreteSpec(4))
    actions = draw(policy, time_step((4000,)))
    assert actions.dtype == jnp.int32
    np.testing.assert_allclose(np.bincount(actions) / 4000, [0.25] * 4, atol=0.03)
    assert draw(policy, time_step()).shape == ()
    np.testing.assert_allclose(
        policy.distribution((), time_step()).action.log_prob(2), np.log(0.25), rtol=1e-6
    )


def test_random_actions_keep_the_specs_dtype():
    assert draw(RandomPolicy(DiscreteSpec(4, np.uint8)), time_step((3,))).dtype == jnp.uint8
    assert (
        draw(RandomPolicy(BoundedSpec((2,), np.float16, -1, 1)), time_step((3,))).dtype
        == jnp.float16
    )


@pytest.mark.parametrize("dtype", [np.int32, np.uint8])
def test_random_integers_between_bounds_are_refused(dtype):
    with pytest.raises(
        ValueError, match=r"expected a discrete spec or one of floats .* make them Discrete"
    ):
        RandomPolicy(BoundedSpec((1,), dtype, 0, 3))


def test_random_multi_discrete_actions_respect_a_concatenated_mask():
    policy = RandomPolicy(DiscreteSpec((2, 3)))
    mask = np.array([True, False, False, True, True])
    actions = draw(
        policy, time_step((600,), {"observation": np.zeros(1, np.float32), "action_mask": mask})
    )
    assert actions.shape == (600, 2)
    assert set(map(tuple, np.asarray(actions).tolist())) == {(0, 1), (0, 2)}
    free = draw(policy, time_step((600,)))
    assert len(set(map(tuple, np.asarray(free).tolist()))) == 6


def test_random_continuous_actions_fill_their_bounds():
    policy = RandomPolicy(BoundedSpec((2,), np.float32, [-1.0, 5.0], [1.0, 9.0]))
    actions = np.asarray(draw(policy, time_step((2000,))))
    assert actions.shape == (2000, 2)
    assert (actions >= [-1, 5]).all() and (actions <= [1, 9]).all()
    np.testing.assert_allclose(actions.mean(0), [0, 7], atol=0.15)
    np.testing.assert_allclose(
        policy.distribution((), time_step()).action.log_prob(jnp.array([0.0, 7.0])),
        -np.log(8),
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    "spec", [BoundedSpec((1,), np.float32, 0), ArraySpec((1,)), {"a": DiscreteSpec(2)}]
)
def test_random_needs_bounds(spec):
    with pytest.raises(ValueError, match="finite bounds"):
        RandomPolicy(spec)


def test_a_script_in_a_batch_counts_each_stream():
    policy = ScriptedPolicy([(1, 5), (2, 6), (1, 7)])
    state = policy.initial_state((2,)) + jnp.array([0, 2])
    seen = []
    for _ in range(4):
        action, state, _ = policy.action((), time_step((2,)), state)
        seen.append(np.asarray(action).tolist())
    assert seen == [[5, 6], [6, 7], [6, 7], [7, 7]]


def test_a_script_of_trees_and_its_distribution():
    policy = ScriptedPolicy([(1, {"x": np.float32([1, 2])}), (1, {"x": np.float32([3, 4])})])
    action, state, _ = policy.action((), time_step(), policy.initial_state())
    np.testing.assert_array_equal(action["x"], [1, 2])
    distribution, state, _ = policy.distribution((), time_step(), state)
    np.testing.assert_array_equal(distribution.sample(None)["x"], [3, 4])
    assert int(state) == 2


@pytest.mark.parametrize("script", [[], [(0, 1)]])
def test_an_empty_script_is_an_error(script):
    with pytest.raises(ValueError, match="times >= 1"):
        ScriptedPolicy(script)

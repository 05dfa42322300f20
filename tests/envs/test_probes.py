import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents import envs
from jax_agents.envs import probes, validate_environment

GAMMA = 0.9


def best_return(env, key):
    """Plays an episode with the best policy; returns its return and its first observation."""
    observations, best = env.expected_values(GAMMA)[0], env.best_actions()
    state, time_step = env.reset(key)
    start, total, weight = np.asarray(time_step.observation), 0.0, 1.0
    while not time_step.is_last():
        at = int(np.argmin(np.abs(observations - np.asarray(time_step.observation)).sum(-1)))
        action = env.specs.action
        action = jnp.zeros(action.shape, action.dtype) if best is None else best[at]
        state, time_step = env.step(state, action)
        total += weight * float(time_step.reward)
        weight *= GAMMA * float(time_step.discount)
    return start, total


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("index", range(5))
def test_the_best_policy_earns_the_expected_value(index, continuous):
    env = probes.all_probes(continuous)[index]
    observations, values = env.expected_values(GAMMA)
    envs.validate(observations, env.specs.observation, batch_ndim=1, values=True)
    if env.best_actions() is not None:
        envs.validate(env.best_actions(), env.specs.action, batch_ndim=1, values=True)
    seen = set()
    for key in jax.random.split(jax.random.key(0), 12):
        start, total = best_return(env, key)
        at = int(np.flatnonzero((observations == start).all(-1))[0])
        np.testing.assert_allclose(total, values[at], rtol=1e-6)
        seen.add(at)
    reachable = 1 if isinstance(env, probes.DelayedReward) else len(values)
    assert len(seen) == reachable
    validate_environment(env, 30)


@pytest.mark.parametrize("probe", [probes.ActionReward, probes.ObservationActionReward])
@pytest.mark.parametrize("continuous", [False, True])
def test_any_other_action_earns_less(probe, continuous):
    env = probe(continuous)
    for observation, best in zip(env.expected_values(GAMMA)[0], env.best_actions(), strict=True):
        other = best + np.float32(0.3) if continuous else 1 - best
        rewards = [
            float(env.dynamics(jnp.asarray(observation), action)[1]) for action in (best, other)
        ]
        assert rewards[0] > rewards[1]


def test_one_state_never_terminates():
    env = probes.OneState(max_episode_steps=3)
    assert env.expected_values(GAMMA)[1] == pytest.approx(10)
    host = envs.HostEnvironment(env)
    steps = [host.reset(0)] + [host.step(0) for _ in range(8)]
    assert [int(s.step_type) for s in steps] == [0, 1, 1, 2, 0, 1, 1, 2, 0]
    assert all(s.discount == 1 for s in steps)


def test_masked_actions():
    env = probes.MaskedActions(num_actions=4)
    validate_environment(envs.HostEnvironment(env, 3), 60)
    mask = jnp.array([True, False, True, False])
    assert [round(float(env.dynamics(mask, jnp.int32(a))[1]), 3) for a in range(4)] == [
        0.0,
        -1.0,
        0.667,
        -1.0,
    ]
    masks = jax.vmap(env.initial_physics)(jax.random.split(jax.random.key(0), 200))
    assert masks.any(-1).all() and not masks.all() and len(np.unique(masks, axis=0)) > 8


@pytest.mark.parametrize("continuous", [False, True])
def test_recall_rewards_what_it_showed_before(continuous):
    env = probes.Recall(continuous)
    shown = set()
    for key in jax.random.split(jax.random.key(0), 8):
        state, first = env.reset(key)
        sign = float(first.observation[0])
        best, other = (
            np.array([s * probes.TARGET], np.float32) if continuous else int(s > 0)
            for s in (sign, -sign)
        )
        state, second = env.step(state, other)
        assert second.observation == 0 and second.reward == 0 and not second.is_last()
        _, last = env.step(state, best)
        assert last.reward == 1 and last.is_last() and last.discount == 0
        assert env.step(state, other)[1].reward < 1
        shown.add(sign)
    assert shown == {-1.0, 1.0}
    validate_environment(env, 30)

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents import envs


@dataclasses.dataclass(frozen=True, eq=False)
class Count(envs.EpisodicEnvironment):
    """Counts up from a random number; terminates after `length` steps; the reward is the count."""

    length: int = 3
    max_episode_steps: int | None = None

    @property
    def specs(self):
        return envs.EnvironmentSpecs(
            {"count": envs.ArraySpec((), np.int32), "start": envs.ArraySpec(())},
            envs.DiscreteSpec(2),
        )

    def initial_physics(self, key):
        return jnp.int32(0), jax.random.uniform(key)

    def dynamics(self, physics, action):
        count, start = physics
        return (count + 1, start), (count + 1).astype(jnp.float32), count + 1 >= self.length

    def observe(self, physics):
        return {"count": physics[0], "start": physics[1]}


def play(env, num_steps, key=0):
    state, time_step = env.reset(jax.random.key(key))
    steps = [time_step]
    step = jax.jit(env.step)
    for _ in range(num_steps):
        state, time_step = step(state, jnp.int32(0))
        steps.append(time_step)
    return jax.tree.map(lambda *x: np.stack(x), *steps), state


@pytest.mark.parametrize(
    ("length", "limit", "step_types", "discounts"),
    [
        (3, None, [0, 1, 1, 2, 0, 1, 1, 2, 0], [1, 1, 1, 0, 1, 1, 1, 0, 1]),
        (3, 2, [0, 1, 2, 0, 1, 2, 0, 1, 2], [1] * 9),
        # both at once: the task ended
        (
            3,
            3,
            [0, 1, 1, 2, 0, 1, 1, 2, 0],
            [1, 1, 1, 0, 1, 1, 1, 0, 1],
        ),
        (1, None, [0, 2, 0, 2, 0, 2, 0, 2, 0], [1, 0, 1, 0, 1, 0, 1, 0, 1]),
        (9, 1, [0, 2, 0, 2, 0, 2, 0, 2, 0], [1] * 9),
    ],
)
def test_termination_truncation_and_the_reset_that_follows(length, limit, step_types, discounts):
    steps, _ = play(Count(length, limit), 8)
    np.testing.assert_array_equal(steps.step_type, step_types)
    np.testing.assert_array_equal(steps.discount, discounts)
    counts = steps.observation["count"]
    np.testing.assert_array_equal(counts[steps.step_type == 0], 0)
    np.testing.assert_array_equal(steps.reward, counts)  # and so 0 on FIRST


def test_the_reset_is_the_reset_of_the_state_s_key():
    env = Count()
    state, _ = env.reset(jax.random.key(7))
    for _ in range(3):
        state, _ = env.step(state, jnp.int32(0))
    again, first = env.step(state, jnp.int32(0))
    expected, expected_first = env.reset(state.key)
    np.testing.assert_array_equal(jax.random.key_data(again.key), jax.random.key_data(expected.key))
    np.testing.assert_array_equal(first.observation["start"], expected_first.observation["start"])


def test_each_episode_starts_with_numbers_of_its_own():
    steps, _ = play(Count(1), 40)
    starts = steps.observation["start"]
    assert len(np.unique(starts)) == 21  # 20 episodes and the reset: two rows each
    other, _ = play(Count(1), 4, key=1)
    assert not np.isin(other.observation["start"], starts).any()


def test_the_action_of_a_reset_is_ignored():
    env = envs.probes.ActionReward()
    state, _ = env.step(env.reset(jax.random.key(0))[0], jnp.int32(1))
    results = [env.step(state, jnp.int32(a))[1] for a in (0, 1)]
    assert all(int(r.step_type) == 0 and float(r.reward) == 0 for r in results)


def test_other_kinds_of_keys():
    state, _ = Count(1).reset(jax.random.key(0, impl="rbg"))
    state, _ = jax.jit(Count(1).step)(state, 0)
    state, time_step = jax.jit(Count(1).step)(state, 0)
    assert int(time_step.step_type) == 0


def test_physics_are_observed_as_they_are_by_default():
    class Drift(Count):
        observe = envs.EpisodicEnvironment.observe

    state, time_step = Drift().reset(jax.random.key(0))
    assert time_step.observation is state.physics

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents import evaluation
from jax_agents.envs.classic import CartPole
from jax_agents.envs.types import PolicyStep


@dataclasses.dataclass(frozen=True, eq=False)
class ParameterPolicy:
    """Always the action `params`; where `counting` (its recurrent state), plus the rows seen."""

    counting: bool = False

    def initial_state(self, batch_shape=()):
        return jnp.zeros(batch_shape, jnp.int32)

    def action(self, params, time_step, state=(), key=None):
        action = jnp.broadcast_to(jnp.asarray(params, jnp.int32), jnp.shape(time_step.step_type))
        return PolicyStep(action + state * self.counting, state + 1)


@dataclasses.dataclass(frozen=True, eq=False)
class CoinPolicy:
    def initial_state(self, batch_shape=()):
        return ()

    def action(self, params, time_step, state=(), key=None):
        return PolicyStep(jax.random.randint(key, jnp.shape(time_step.step_type), 0, 2))


ONES, COUNTING, COIN = ParameterPolicy(), ParameterPolicy(counting=True), CoinPolicy()


def test_unbatched_returns_and_their_mean(countdown):
    env = countdown([3, 1, 4])
    np.testing.assert_array_equal(evaluation.compute_returns(env, ONES, 4, 1), [3, 1, 4, 3])
    np.testing.assert_array_equal(evaluation.compute_returns(env, ONES, 2, 2), [6, 2])
    assert evaluation.compute_avg_return(env, ONES, num_episodes=4, params=1) == 2.75


def test_policy_state_is_carried_and_reset_rewards_do_not_count(countdown):
    """Actions 0, 1 earn 0 + 1; action 2 resets; action 3 starts the second episode: 3 + 4."""
    np.testing.assert_array_equal(
        evaluation.compute_returns(countdown([2]), COUNTING, 2, 0), [1, 7]
    )


def test_parallel_environments_contribute_a_fixed_number_of_episodes_each(countdown):
    """The short episodes of environment 0 must not crowd out the long ones of environment 1."""
    env = countdown([[1], [50]])
    np.testing.assert_array_equal(evaluation.compute_returns(env, ONES, 4, 1), [1, 50, 1, 50])
    np.testing.assert_array_equal(evaluation.compute_returns(env, ONES, 3, 1), [1, 50, 1])
    np.testing.assert_array_equal(evaluation.compute_returns(env, ONES, 1, 1), [1])
    np.testing.assert_array_equal(
        evaluation.compute_returns(countdown([[1, 3], [2, 4], [5, 6]]), ONES, 5, 1), [1, 2, 5, 3, 4]
    )


def test_the_seed_decides_everything(countdown):
    env = countdown([[5] * 3, [7] * 3])
    one, same, other = (evaluation.compute_returns(env, COIN, 6, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    assert env.seeds == [1, 1, 2]


def test_acting_compiles_once(countdown):
    traces = []

    @dataclasses.dataclass(frozen=True, eq=False)
    class Traced(ParameterPolicy):
        def action(self, params, time_step, state=(), key=None):
            traces.append(1)
            return ParameterPolicy.action(self, params, time_step, state, key)

    policy = Traced()
    for params in (1, 2):
        evaluation.compute_returns(countdown([2, 3]), policy, 3, np.int32(params))
    assert len(traces) == 1


def test_an_endless_episode_is_an_error_only_while_it_matters(countdown):
    with pytest.raises(
        evaluation.EndlessEpisode,
        match=r"not ended within max_steps=20 steps; give the environment a time limit",
    ):
        evaluation.compute_returns(countdown([10**9]), ONES, 1, 1, max_steps=20)
    np.testing.assert_array_equal(
        evaluation.compute_returns(countdown([20]), ONES, 1, 1, max_steps=20), [20]
    )
    # Environment 1 has given its one episode; what it does while environment 0 plays on does not
    # matter.
    np.testing.assert_array_equal(
        evaluation.compute_returns(countdown([[9, 9], [1, 10**9]]), ONES, 3, 1, max_steps=10),
        [9, 1, 9],
    )


@dataclasses.dataclass(frozen=True, eq=False)
class FloatPolicy(ParameterPolicy):
    def action(self, params, time_step, state=(), key=None):
        return PolicyStep(jnp.zeros(jnp.shape(time_step.step_type)), state)


@dataclasses.dataclass(frozen=True, eq=False)
class WidePolicy(ParameterPolicy):
    def action(self, params, time_step, state=(), key=None):
        return PolicyStep((time_step.observation @ jnp.ones((5, 3))).argmax(-1), state)


def test_errors(countdown):
    env = countdown([1])
    with pytest.raises(ValueError, match="num_episodes: expected at least 1, got 0"):
        evaluation.compute_avg_return(env, ONES, num_episodes=0, params=1)
    with pytest.raises(
        ValueError,
        match=r"FloatPolicy does not act in this environment.*expected int32\[\].*got float32",
    ):
        evaluation.compute_avg_return(env, FloatPolicy(), params=1)
    with pytest.raises(
        ValueError, match=r"WidePolicy does not act in this environment \(observation float32\[2\]"
    ):
        evaluation.compute_avg_return(env, WidePolicy(), params=1)
    with pytest.raises(
        ValueError, match=r"with no params; pass params=agent.policy_params\(state\)"
    ):
        evaluation.compute_avg_return(env, ParameterPolicy())
    with pytest.raises(
        ValueError, match="at least 1 episode and 1 step, got num_episodes=0, max_steps=10000"
    ):
        evaluation.evaluate_on_device(CartPole(), ONES, 1, jax.random.key(0), 0)


def lengths_of(env, key, num_episodes):
    return jax.vmap(env.reset)(jax.random.split(jax.random.split(key)[0], num_episodes))[0][
        "length"
    ]


def test_on_device_counts_the_first_episode_of_every_environment(jax_countdown):
    key = jax.random.key(0)
    lengths = np.asarray(lengths_of(jax_countdown, key, 20))
    assert set(lengths) == {1, 2, 3, 4, 5}
    evaluate = jax.jit(evaluation.evaluate_on_device, static_argnums=(0, 1, 4, 5))
    returns = evaluate(jax_countdown, ONES, 2, key, 20)
    assert returns.shape == (20,) and returns.dtype == jnp.float32
    np.testing.assert_array_equal(returns, 2.5 * lengths)
    np.testing.assert_array_equal(
        evaluate(jax_countdown, ONES, 2, key, 20, 3), 2.5 * lengths.clip(max=3)
    )
    # The policy's state is carried from step to step: actions 0, 1, 2, ...
    np.testing.assert_array_equal(
        evaluate(jax_countdown, COUNTING, 0, key, 20), 0.5 * lengths + lengths * (lengths - 1) / 2
    )


def test_on_device_under_vmap_over_seeds_and_parameters(jax_countdown):
    keys = jax.random.split(jax.random.key(1), 3)
    evaluate = jax.jit(
        jax.vmap(lambda p, k: evaluation.evaluate_on_device(jax_countdown, ONES, p, k, 6))
    )
    returns = evaluate(jnp.array([0, 1, 2]), keys)
    expected = [(p + 0.5) * np.asarray(lengths_of(jax_countdown, k, 6)) for p, k in enumerate(keys)]
    np.testing.assert_array_equal(returns, expected)


def test_on_device_draws_afresh_in_every_step_and_environment(jax_countdown):
    key = jax.random.key(2)
    lengths = np.asarray(lengths_of(jax_countdown, key, 400))
    heads = (
        np.asarray(evaluation.evaluate_on_device(jax_countdown, COIN, (), key, 400)) - 0.5 * lengths
    )
    # Sums of 5 independent coins: 0..5, of variance 5/4; 5 equal coins would only give 0 and 5.
    assert set(heads[lengths == 5]) >= {1, 2, 3, 4}
    assert abs(heads.sum() / lengths.sum() - 0.5) < 0.06

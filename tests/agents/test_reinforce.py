"""REINFORCE's loss against TF-Agents' numbers; the rest is in `test_on_policy.py`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents.agents import ReinforceAgent
from jax_agents.agents.on_policy import Examples
from jax_agents.envs.specs import ArraySpec, EnvironmentSpecs
from jax_agents.networks.distributions import Normal

SPECS = EnvironmentSpecs(ArraySpec((2,)), ArraySpec((1,)))


class Linear:
    """Normal(2x + y + 5, x + y + 5), the second being the standard deviation; with a `baseline`
    also V = 2x + y + 5.
    """

    def __init__(self, baseline=False):
        self.baseline = baseline

    def init(self, key, observation):
        return {"w": jnp.array([[2.0, 1.0], [1.0, 1.0]]), "b": jnp.array([5.0, 5.0])}

    def apply(self, variables, observation):
        outputs = observation @ variables["w"] + variables["b"]
        distribution = Normal(outputs[..., :1], outputs[..., 1:])
        return (distribution, outputs[..., 0]) if self.baseline else distribution


def loss(observation, action, returns, weight, baseline=False, **options):
    agent = ReinforceAgent(SPECS, Linear(baseline), optax.sgd(1.0), **options)
    state, n = agent.init(jax.random.key(0)), len(returns)
    action, returns = jnp.array(action, jnp.float32)[:, None], jnp.array(returns)
    examples = Examples(
        jnp.array(observation),
        action,
        jnp.zeros(n),
        returns,
        returns,
        jnp.zeros(n),
        jnp.array(weight),
    )
    return agent.loss(state.params, state, examples, jax.random.key(0))


def test_one_episode():
    """Case 3.1. The weights n / episodes make the mean a sum over each episode."""
    info = loss([[1.0, 2.0], [3.0, 4.0]], [0, 1], [1.9, 1.0], [2.0, 2.0])
    assert info.loss == pytest.approx(10.983667373657227, rel=1e-6)


def test_several_episodes_with_boundaries():
    """Case 3.2: rows 1 and 3 are boundaries, and there are 2 episodes."""
    info = loss([[1.0, 2.0]] * 4, [0, 1, 2, 3], [1.9, 1.9, 1.0, 1.0], [2.0, 0.0, 2.0, 0.0])
    assert info.loss == pytest.approx(5.140229225158691, rel=1e-6)


def test_boundary_return_counts_nothing():
    """Case 3.3."""
    assert loss([[1.0, 2.0]] * 2, [0, 1], [3.0, 0.0], [2.0, 0.0]).loss == pytest.approx(
        10.8935775757, rel=1e-6
    )


def test_baseline_loss():
    """Case 3.9: 0.5 x (7.1^2 + 14^2), on top of case 3.1. The metric is the mean over steps."""
    info = loss(
        [[1.0, 2.0], [3.0, 4.0]],
        [0, 1],
        [1.9, 1.0],
        [2.0, 2.0],
        baseline=True,
        value_coefficient=0.5,
    )
    assert info.metrics["value_loss"] == pytest.approx((7.1**2 + 14**2) / 2, rel=1e-6)
    assert info.loss == pytest.approx(123.205 + 10.983667, rel=1e-6)


def prepared(baseline, normalize_returns=False):
    """Two streams of 5 steps: episodes end at steps 1 (cut off) and never; at step 3 (terminated)
    and, just, never.
    """
    agent = ReinforceAgent(
        SPECS, Linear(baseline), optax.sgd(1.0), gamma=0.5, normalize_returns=normalize_returns
    )
    step_type = np.array([[0, 1, 2, 0, 1, 1], [0, 1, 1, 1, 2, 0]], np.int32)
    next_step_type = np.array([[1, 2, 0, 1, 1, 0], [1, 1, 1, 2, 0, 0]], np.int32)
    discount, reward = np.ones((2, 6), np.float32), np.full((2, 6), 4.0, np.float32)
    discount[1, 3] = 0.0
    row = agent.collect_data_spec._replace(
        step_type=step_type, next_step_type=next_step_type, reward=reward, discount=discount
    )
    experience = row._replace(
        observation=np.zeros((2, 6, 2), np.float32),
        action=np.zeros((2, 6, 1), np.float32),
        policy_info={"log_prob": np.zeros((2, 6), np.float32)},
    )
    return agent.prepare(agent.init(jax.random.key(0)), experience)[1]


def test_returns_without_a_baseline_end_with_episodes_and_unfinished_ones_are_left_out():
    batch = prepared(baseline=False)
    advantage, weight = batch.advantage.reshape(2, 5), batch.weight.reshape(2, 5)
    np.testing.assert_allclose(weight, [[5, 5, 0, 0, 0], [5, 5, 5, 5, 0]])  # 10 rows, 2 episodes
    np.testing.assert_allclose(advantage[0, :2], [6, 4])
    np.testing.assert_allclose(advantage[1, :4], [7.5, 7, 6, 4])


def test_a_baseline_stands_for_what_follows():
    """V is 5 everywhere: the return is 4 + 0.5 x 5 at a cut, and at the end of the rows."""
    batch = prepared(baseline=True)
    target, weight = batch.target.reshape(2, 5), batch.weight.reshape(2, 5)
    # 3 episodes have rows
    np.testing.assert_allclose(weight, np.array([[1, 1, 0, 1, 1], [1, 1, 1, 1, 0]]) * 10 / 3)
    np.testing.assert_allclose(target[0, [0, 1, 3, 4]], [7.25, 6.5, 7.25, 6.5])
    np.testing.assert_allclose(target[1, :4], [7.5, 7, 6, 4])
    np.testing.assert_allclose(batch.advantage, batch.target - 5.0)


def test_returns_are_standardised_over_rows_that_count():
    batch = prepared(baseline=False, normalize_returns=True)
    counted = batch.advantage[batch.weight > 0]
    np.testing.assert_allclose([counted.mean(), counted.std()], [0.0, 1.0], atol=1e-5)


@pytest.mark.parametrize("baseline", [False, True])
def test_the_entropy_is_a_mean_over_steps(baseline):
    """Both the metric and the bonus, whose coefficient is that of the other agents."""
    agent = ReinforceAgent(SPECS, Linear(baseline), optax.sgd(1.0), entropy_coefficient=0.3)
    without = ReinforceAgent(SPECS, Linear(baseline), optax.sgd(1.0))
    examples = prepared(baseline)
    state = agent.init(jax.random.key(0))
    infos = [a.loss(state.params, state, examples, jax.random.key(0)) for a in (agent, without)]
    entropy = float(Normal(jnp.zeros(1), jnp.full(1, 5.0)).entropy())  # x = 0 in all rows
    assert infos[0].metrics["entropy"] == pytest.approx(entropy, rel=1e-5)
    assert infos[1].loss - infos[0].loss == pytest.approx(0.3 * entropy, rel=1e-3)

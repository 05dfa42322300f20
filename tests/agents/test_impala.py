"""IMPALA's correction and APPO's clip by hand; the rest is in `test_on_policy.py`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents.agents import A2cAgent, ImpalaAgent
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs
from jax_agents.networks import ActorNetwork, ActorValueNetwork, ValueNetwork

SPECS = EnvironmentSpecs(ArraySpec((2,)), DiscreteSpec(2))


def build(kind, **options):
    actor = ActorNetwork(
        SPECS.action, hidden=(8,), output_kernel_init=jax.nn.initializers.orthogonal(1.0)
    )
    return kind(
        SPECS,
        ActorValueNetwork(actor, ValueNetwork(hidden=(8,))),
        optax.sgd(1.0),
        gamma=0.9,
        **options,
    )


def experience(agent, params, ratio=1.0, steps=4):
    """Rows `[2, steps + 1]` by a policy of probabilities 1 / `ratio` of the current ones."""
    rng = np.random.default_rng(0)
    shape = (2, steps + 1)
    middle, action = np.ones(shape, np.int32), rng.integers(2, size=shape).astype(np.int32)
    observation, reward = (
        rng.normal(size=(*shape, 2)).astype(np.float32),
        rng.normal(size=shape).astype(np.float32),
    )
    info = {"log_prob": agent.apply(params, observation)[0].log_prob(action) - np.log(ratio)}
    row = agent.collect_data_spec._replace(
        step_type=middle, next_step_type=middle, policy_info=info, action=action
    )
    return row._replace(observation=observation, reward=reward, discount=np.ones(shape, np.float32))


def test_on_policy_it_is_a2c():
    """Where ratios are 1, V-trace targets are n-step returns (Espeholt et al. 2018, remark 1), and
    so is the gradient.
    """
    impala, a2c = (
        build(ImpalaAgent, entropy_coefficient=0.1),
        build(A2cAgent, entropy_coefficient=0.1),
    )
    state = impala.init(jax.random.key(0))
    rows = experience(impala, state.params)
    ours, info = impala.train(*impala.prepare(state, rows))
    theirs, other = a2c.train(*a2c.prepare(state, rows))
    assert info.metrics["ratio"] == pytest.approx(1.0)
    np.testing.assert_allclose(info.loss, other.loss, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(ours.params), jax.tree.leaves(theirs.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_one_step_by_hand():
    """With one step and a ratio of 0.5: target = V + 0.5 delta, advantage = 0.5 delta; with 3,
    clipped to 1, delta itself.
    """
    agent = build(ImpalaAgent)
    state = agent.init(jax.random.key(0))
    for ratio, counted in [(0.5, 0.5), (3.0, 1.0)]:
        rows = experience(agent, state.params, ratio, steps=1)
        info = agent.loss(state.params, state, rows, jax.random.key(0))
        distribution, values = agent.apply(state.params, rows.observation)
        delta = counted * (rows.reward[:, 0] + 0.9 * values[:, 1] - values[:, 0])
        assert info.metrics["value_loss"] == pytest.approx(float(jnp.mean(delta**2)), rel=1e-4)
        log_prob = distribution.log_prob(rows.action)[:, 0]
        assert info.metrics["policy_loss"] == pytest.approx(
            float(jnp.mean(-log_prob * delta)), rel=1e-4
        )


@pytest.mark.parametrize(
    "ratio, sign, counted",
    [(1.3, 1, 1.2), (1.3, -1, 1.3), (0.7, 1, 0.7), (0.7, -1, 0.8), (1.1, 1, 1.1), (0.9, -1, 0.9)],
)
def test_appo_by_hand(ratio, sign, counted):
    """Clipped to 0.8..1.2: what would profit from more is held at the clip, without gradient; all
    else counts as it is.

    With one step the advantage is delta, in which the ratio is not; the target's V + min(1, ratio)
    delta has it.
    """
    agent = build(ImpalaAgent, clip_ratio=0.2, value_coefficient=0.0)
    state = agent.init(jax.random.key(0))
    rows = experience(agent, state.params, ratio, steps=1)
    values = agent.apply(state.params, rows.observation)[1]
    # so delta is 1 and 2, or -1 and -2
    reward = sign * np.array([1.0, 2.0]) - 0.9 * values[:, 1] + values[:, 0]
    rows = rows._replace(reward=np.stack([reward, reward], axis=1))
    loss = lambda params: agent.loss(params, state, rows, jax.random.key(0))
    gradient = jax.grad(lambda params: loss(params).loss)(state.params)
    info = loss(state.params)
    clips = counted != ratio
    assert info.metrics["policy_loss"] == pytest.approx(-sign * counted * 1.5, rel=1e-4)
    assert info.metrics["value_loss"] == pytest.approx(min(1.0, ratio) ** 2 * 2.5, rel=1e-4)
    assert info.metrics["clip_fraction"] == (abs(ratio - 1) > 0.2)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient)) == clips


def test_where_nothing_is_clipped_appo_is_impala():
    """With ratios up to 1, the surrogate's gradient is that of log pi times V-trace's advantage."""
    impala, appo = (
        build(ImpalaAgent, entropy_coefficient=0.1),
        build(ImpalaAgent, entropy_coefficient=0.1, clip_ratio=0.4),
    )
    state = impala.init(jax.random.key(0))
    rows = experience(impala, state.params, ratio=0.7)
    ours, info = appo.train(*appo.prepare(state, rows))
    theirs, _ = impala.train(*impala.prepare(state, rows))
    assert info.metrics["clip_fraction"] == 0.0
    for a, b in zip(jax.tree.leaves(ours.params), jax.tree.leaves(theirs.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)

"""A2C's loss by hand; what it shares with other agents is in `test_on_policy.py`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents.agents import A2cAgent, Examples
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs
from jax_agents.networks.distributions import Categorical

SPECS = EnvironmentSpecs(ArraySpec((1,)), DiscreteSpec(2))


class Constant:
    """Probabilities 3/4 and 1/4, and a value of 1, whatever is observed."""

    def init(self, key, observation):
        return {"logits": jnp.log(jnp.array([3.0, 1.0])), "value": jnp.float32(1.0)}

    def apply(self, variables, observation):
        shape = observation.shape[:-1]
        logits = jnp.broadcast_to(variables["logits"], (*shape, 2))
        return Categorical(logits), jnp.broadcast_to(variables["value"], shape)


def info(**options):
    agent = A2cAgent(SPECS, Constant(), optax.sgd(1.0), **options)
    state = agent.init(jax.random.key(0))
    examples = Examples(
        observation=jnp.zeros((3, 1)),
        action=jnp.array([0, 1, 0]),
        log_prob=jnp.zeros(3),
        advantage=jnp.array([2.0, -1.0, 50.0]),
        target=jnp.array([3.0, 0.0, 50.0]),
        value=jnp.ones(3),
        weight=jnp.array([1.0, 1.0, 0.0]),  # the last one is a boundary row
    )
    return agent.loss(state.params, state, examples, jax.random.key(1))


def test_each_part_and_their_sum():
    policy_loss = (-np.log(0.75) * 2 - np.log(0.25) * -1) / 3
    value_loss = ((1 - 3) ** 2 + 1**2) / 3
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25)) * 2 / 3
    metrics = info().metrics
    steps = 2 / 3  # of the examples: metrics are means over steps
    assert metrics["policy_loss"] == pytest.approx(policy_loss / steps, rel=1e-5)
    assert metrics["value_loss"] == pytest.approx(value_loss / steps, rel=1e-6)
    assert metrics["entropy"] == pytest.approx(entropy / steps, rel=1e-5)
    total = policy_loss + 0.25 * value_loss - 0.1 * entropy
    loss = info(value_coefficient=0.25, entropy_coefficient=0.1).loss
    assert loss == pytest.approx(total, rel=1e-5)

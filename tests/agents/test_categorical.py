"""C51 by hand-worked numbers: the loss of TF-Agents' test, its terminal target, its support."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jax_agents import agents
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs

SPECS = EnvironmentSpecs(ArraySpec((2,)), DiscreteSpec(2))


class DummyNet(nn.Module):
    """51 logits for each of two actions: (x [0, 1, ..., 50] + y + 1) and (x + y + 1), for an
    observation (x, y).
    """

    @nn.compact
    def __call__(self, observation):
        rows = jnp.stack([jnp.concatenate([jnp.arange(51.0), jnp.ones(51)]), jnp.ones(102)])
        logits = nn.Dense(102, kernel_init=lambda *_: rows, bias_init=nn.initializers.ones)(
            observation
        )
        return logits.reshape(*observation.shape[:-1], 2, 51)


def make_agent(**options):
    options = {"gamma": 1.0, "v_min": -10.0, "v_max": 10.0} | options
    return agents.CategoricalDqnAgent(SPECS, DummyNet(), optax.sgd(0.01), **options)


def loss_of(agent, rows):
    state = agent.init(jax.random.key(0))
    return jax.jit(lambda: agent.loss(state.params, state, rows, jax.random.key(1)))()


def test_the_loss_is_that_of_tf_agents(data):
    """Case 2.1: (ln 51 - ln(1 - 1/e)) / 2, since both targets lie at the top of the support."""
    for double in (False, True):
        info = loss_of(make_agent(double=double), data)
        np.testing.assert_allclose(info.loss, (np.log(51) - np.log(1 - np.exp(-1))) / 2, atol=1e-4)
        np.testing.assert_allclose(
            info.per_example["td_error"], [0.458675145, 3.931825633], atol=1e-4
        )


def test_a_terminal_target_is_the_reward_shared_by_its_neighbours(data):
    """Reward 0.1 lies a quarter of the way from atom 25 (0.0) to 26 (0.4); the second action's
    logits are all equal.
    """
    rows = data._replace(
        reward=np.full((2, 2), 0.1, np.float32), discount=np.zeros((2, 2), np.float32)
    )
    info = loss_of(make_agent(), rows)
    np.testing.assert_allclose(info.per_example["td_error"][1], np.log(51), rtol=1e-6)
    log_probs = np.arange(51) - np.log(np.exp(np.arange(51.0)).sum())
    np.testing.assert_allclose(
        info.per_example["td_error"][0], -0.75 * log_probs[25] - 0.25 * log_probs[26], rtol=1e-5
    )


def test_double_follows_the_action_that_the_network_itself_finds_best(data):
    single, double = make_agent(), make_agent(double=True)
    state = single.init(jax.random.key(0))
    swapped = jax.tree.map(
        lambda x: jnp.concatenate([x[..., 51:], x[..., :51]], axis=-1), state.target_params
    )
    state = state.replace(target_params=swapped)
    rows = data._replace(reward=np.zeros((2, 2), np.float32))
    # The target network's best is its second action, with its mass at the top; the online network's
    # best is the first, uniform.
    losses = [
        a.loss(state.params, state, rows, jax.random.key(1)).per_example["td_error"][0]
        for a in (single, double)
    ]
    log_probs = np.arange(51) - np.log(np.exp(np.arange(51.0)).sum())
    # nearly uniform, on 0.9 of the support
    np.testing.assert_allclose(losses[1], -np.mean(log_probs), rtol=0.05)
    assert losses[0] < 10 < losses[1]


def test_values_are_means_over_the_support(data):
    agent = make_agent(v_min=-1.0, v_max=3.0)
    logits = jnp.zeros((4, 2, 51)).at[:, 1, 50].set(100.0)
    np.testing.assert_allclose(agent.values(logits), np.tile([1.0, 3.0], (4, 1)), rtol=1e-5)
    params = agent.policy_params(agent.init(jax.random.key(0)))
    assert agent.q_values(params, data.observation).shape == (2, 2, 2)
    np.testing.assert_allclose(agent.q_values(params, data.observation)[..., 1], 1.0, atol=1e-5)
    np.testing.assert_allclose(
        agent.value(params, data.observation), agent.q_values(params, data.observation)[..., 0]
    )

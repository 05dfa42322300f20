"""Looking inside: against the agents' own mathematics, the seeds' shapes and parameter counts."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import agents, networks
from jax_agents.envs import classic
from jax_agents.envs.specs import SpecError
from jax_agents.experiments.trained import introspection
from jax_agents.networks import num_params
from jax_agents.policies.policy import act

SPECS = classic.CartPole().specs
BATCH = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


def with_params(agent, seed=0):
    return agent, agent.policy_params(jax.jit(agent.init)(jax.random.key(seed)))


@pytest.fixture(scope="module")
def ppo():
    """RLlib's default network: two separate towers of 256-256 tanh units."""
    towers = networks.ActorNetwork(SPECS.action, (256, 256)), networks.ValueNetwork((256, 256))
    return with_params(
        agents.PpoAgent(SPECS, networks.ActorValueNetwork(*towers), optax.adam(1e-3))
    )


@pytest.fixture(scope="module")
def dueling():
    """RLlib's default DQN: dueling heads of 256 units on features of 256-256."""
    network = networks.QNetwork(
        2, (256, 256), head_hidden=(256,), dueling=True, activation=jnp.tanh
    )
    return with_params(agents.DqnAgent(SPECS, network, optax.adam(1e-3), epsilon=0.2))


def test_parameter_counts_are_the_seeds(ppo, dueling):
    assert num_params(ppo[1]["params"]) == 134_915
    layers = dueling[1]["params"]["q"]["params"]
    advantage_head = num_params([layers["MLP_1"], layers["Dense_0"]])
    state_value_head = num_params([layers["MLP_2"], layers["Dense_1"]])
    assert (advantage_head, state_value_head) == (66_306, 66_049)
    # RLlib's base model carries a layer of 257 numbers for a value, which DQN does not use; ours
    # has the features alone.
    assert num_params(layers["MLP_0"]) == 67_329 - 257
    base = networks.ValueNetwork((256, 256))
    assert num_params(jax.eval_shape(base.init, jax.random.key(0), jnp.zeros(4))) == 67_329
    table = networks.tabulate_params(ppo[1]["params"])
    assert table.splitlines()[-1].split() == ["total", "134915"]
    assert "4x256" in table and "actor_value/params/actor/Dense_0/kernel" in table


def test_one_action_is_what_the_compiled_policy_gives(dueling):
    agent, params = dueling
    for observation in BATCH:
        action, state = introspection.compute_action(agent, params, observation)
        values = agent.q_values(params, observation)
        assert action.shape == () and action == np.argmax(values) and state == ()
    key = jax.random.key(3)
    drawn = [
        int(introspection.compute_action(agent, params, BATCH[0], explore=True, key=key, step=t)[0])
        for t in range(40)
    ]
    step = introspection.batch_step(agent, BATCH[0])
    assert drawn == [
        int(act(agent.collect_policy, params, step, (), key, np.int32(t)).action) for t in range(40)
    ]
    assert 0 < np.mean(drawn) < 1


def test_one_action_of_a_normalising_agent():
    """Statistics in the parameters count: the same network without them acts otherwise."""
    network = networks.ActorValueNetwork(
        networks.ActorNetwork(SPECS.action, (8,)), networks.ValueNetwork((8,))
    )
    agent = agents.PpoAgent(SPECS, network, optax.adam(1e-3), normalize_observations=True)
    state = agent.init(jax.random.key(0))
    statistics = networks.update_statistics(state.extra["observation_statistics"], BATCH + 3.0)
    params = agent.policy_params(state) | {"observation_statistics": statistics}
    seen = networks.normalize(statistics, BATCH[0] + 3.0)
    expected = network.apply(state.params["actor_value"], seen)[0].mode()
    assert introspection.compute_action(agent, params, BATCH[0] + 3.0)[0] == expected
    np.testing.assert_allclose(
        introspection.action_distribution(agent, params, BATCH + 3.0).probs,
        network.apply(state.params["actor_value"], networks.normalize(statistics, BATCH + 3.0))[
            0
        ].probs,
        rtol=1e-6,
    )


def test_what_cannot_be_acted_on(dueling):
    with pytest.raises(SpecError, match=r"observation: expected float32\[4\], got float32\[5,4\]"):
        introspection.compute_action(*dueling, BATCH)
    with pytest.raises(SpecError, match="float64"):
        introspection.compute_action(*dueling, BATCH[0].astype(np.float64))
    with pytest.raises(ValueError, match="exploring needs a key"):
        introspection.compute_action(*dueling, BATCH[0], explore=True)


def test_distribution_of_a_batch(ppo):
    """S000, 27 to 30: of one observation, a sample [1] and log-probability [1]; also of five."""
    for batch in (BATCH[:1], BATCH):
        distribution = introspection.action_distribution(*ppo, batch)
        drawn = distribution.sample(jax.random.key(0))
        log_prob = distribution.log_prob(drawn)
        assert drawn.shape == log_prob.shape == (len(batch),)
        assert jnp.issubdtype(drawn.dtype, jnp.integer) and log_prob.dtype == jnp.float32
        assert distribution.logits.shape == (len(batch), 2)
        total = sum(np.exp(distribution.log_prob(jnp.full(len(batch), a))) for a in range(2))
        np.testing.assert_allclose(total, 1.0, rtol=1e-6)
        assert introspection.value(*ppo, batch).shape == (len(batch),)
    greedy = introspection.action_distribution(*ppo, BATCH, explore=False)
    np.testing.assert_array_equal(greedy.mode(), np.argmax(distribution.logits, axis=1))


def test_distribution_of_an_exploring_q_policy(dueling):
    agent, params = dueling
    best = np.argmax(introspection.q_values(agent, params, BATCH), axis=1)
    # epsilon 0.2, half of it on the best
    expected = np.where(np.arange(2) == best[:, None], 0.9, 0.1)
    np.testing.assert_allclose(
        introspection.action_distribution(agent, params, BATCH).probs, expected, rtol=1e-5
    )


def test_q_values_and_dueling_heads(dueling):
    """S000, 33 to 35: features (1, 256), values (1, 2), atoms (1, 2, 1), a state value (1, 1)."""
    agent, params = dueling
    values = introspection.q_values(agent, params, BATCH)
    heads = introspection.dueling_heads(agent, params, BATCH)
    assert (
        heads.features.shape == (5, 256)
        and heads.state_value.shape == (5, 1)
        and heads.advantages.shape == (5, 2)
    )
    combined = heads.state_value + heads.advantages - heads.advantages.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(values, combined, rtol=1e-5, atol=1e-6)
    layers = params["params"]["q"]["params"]
    hidden = jnp.tanh(
        heads.features @ layers["MLP_2"]["Dense_0"]["kernel"] + layers["MLP_2"]["Dense_0"]["bias"]
    )
    np.testing.assert_allclose(
        heads.state_value,
        hidden @ layers["Dense_1"]["kernel"] + layers["Dense_1"]["bias"],
        rtol=1e-4,
        atol=1e-5,
    )
    atoms, probabilities = introspection.return_distribution(agent, params, BATCH)
    assert atoms.shape == (5, 2, 1)
    np.testing.assert_array_equal(atoms[..., 0], values)
    np.testing.assert_array_equal(probabilities, 1.0)
    np.testing.assert_allclose(introspection.value(agent, params, BATCH), values.max(axis=1))


@pytest.mark.parametrize("kind", ["c51", "qr"])
def test_distributions_of_returns_have_the_values_as_means(kind):
    network = networks.QNetwork(2, (8,), num_atoms=7)
    if kind == "c51":
        agent, params = with_params(
            agents.CategoricalDqnAgent(SPECS, network, optax.adam(1e-3), v_min=-3.0, v_max=5.0)
        )
    else:
        agent, params = with_params(agents.QrDqnAgent(SPECS, network, optax.adam(1e-3)))
    atoms, probabilities = introspection.return_distribution(agent, params, BATCH)
    assert atoms.shape == probabilities.shape == (5, 2, 7)
    np.testing.assert_allclose(probabilities.sum(-1), 1.0, rtol=1e-6)
    expected = introspection.q_values(agent, params, BATCH)
    np.testing.assert_allclose((atoms * probabilities).sum(-1), expected, rtol=1e-4, atol=1e-5)
    if kind == "c51":
        np.testing.assert_allclose(atoms[0, 0, [0, -1]], [-3.0, 5.0])


def test_q_values_of_actor_critics():
    specs = classic.Pendulum().specs
    actor, critic = networks.TanhNormalActor(specs.action, (8,)), networks.CriticNetwork((8,))
    agent, params = with_params(agents.SacAgent(specs, actor, critic, optax.adam(1e-3)))
    observation = np.zeros((3, 3), np.float32)
    distribution = introspection.action_distribution(agent, params, observation)
    action = distribution.sample(jax.random.key(0))
    assert action.shape == (3, 1) and distribution.log_prob(action).shape == (3,)
    assert introspection.q_values(agent, params, observation, action).shape == (2, 3)
    best = introspection.q_values(agent, params, observation, distribution.mode()).min(axis=0)
    np.testing.assert_allclose(introspection.value(agent, params, observation), best, rtol=1e-6)


def test_what_an_agent_has_not(ppo, dueling):
    with pytest.raises(TypeError, match="q_values: PpoAgent learns no such values"):
        introspection.q_values(*ppo, BATCH)
    with pytest.raises(TypeError, match="expected DQN, C51 or QR-DQN, got PpoAgent"):
        introspection.return_distribution(*ppo, BATCH)
    with pytest.raises(
        TypeError, match=r"expected a QNetwork\(dueling=True\), got ActorValueNetwork"
    ):
        introspection.dueling_heads(*ppo, BATCH)
    with pytest.raises(SpecError, match="observation"):
        introspection.action_distribution(*dueling, BATCH[:, :3])

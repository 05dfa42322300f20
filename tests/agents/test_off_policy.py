"""The base of off-policy agents; and that every agent's public loss is what `train` descends."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import agents, networks
from jax_agents.envs.specs import ArraySpec, BoundedSpec, DiscreteSpec, EnvironmentSpecs, sample
from jax_agents.envs.types import StepType

DISCRETE = EnvironmentSpecs(ArraySpec((3,)), DiscreteSpec(2))
CONTINUOUS = EnvironmentSpecs(ArraySpec((3,)), BoundedSpec((1,), np.float32, -2.0, 2.0))
OPTIMIZER = optax.sgd(0.1)
WIDTHS = (8,)


def value_based(kind, num_atoms=None, **options):
    network = networks.QNetwork(2, WIDTHS, num_atoms=num_atoms, noisy_sigma=0.5)
    return kind(DISCRETE, network, OPTIMIZER, double=True, **options)


def continuous(kind, actor, **options):
    critic = networks.CriticNetwork(WIDTHS)
    return kind(CONTINUOUS, actor(CONTINUOUS.action, WIDTHS), critic, OPTIMIZER, **options)


def on_policy(kind, specs=DISCRETE, **options):
    actor = networks.ActorNetwork(specs.action, WIDTHS)
    network = networks.ActorValueNetwork(actor, networks.ValueNetwork(WIDTHS))
    return kind(specs, network, OPTIMIZER, **options)


AGENTS = {
    "DQN": lambda: value_based(agents.DqnAgent),
    "C51": lambda: value_based(agents.CategoricalDqnAgent, 5, v_min=-1.0, v_max=1.0),
    "QR-DQN": lambda: value_based(agents.QrDqnAgent, 5),
    "recurrent DQN": lambda: agents.RecurrentDqnAgent(
        DISCRETE, networks.RecurrentQNetwork(2, networks.GRU(4), ()), OPTIMIZER, sequence_length=2
    ),
    "SAC": lambda: continuous(agents.SacAgent, networks.TanhNormalActor),
    "TD3": lambda: continuous(agents.Td3Agent, networks.DeterministicActor, actor_delay=1),
    "DDPG": lambda: continuous(agents.DdpgAgent, networks.DeterministicActor),
    "discrete SAC": lambda: agents.DiscreteSacAgent(
        DISCRETE,
        networks.ActorNetwork(DISCRETE.action, WIDTHS),
        networks.QNetwork(2, WIDTHS),
        OPTIMIZER,
    ),
    "BC": lambda: agents.BehavioralCloningAgent(
        CONTINUOUS, networks.TanhNormalActor(CONTINUOUS.action, WIDTHS), OPTIMIZER
    ),
    "PPO": lambda: on_policy(agents.PpoAgent, value_clip=0.2, entropy_coefficient=0.01),
    "PPO, penalised": lambda: on_policy(agents.PpoAgent, kl_target=0.01, advantages="batch"),
    "A2C": lambda: on_policy(agents.A2cAgent, CONTINUOUS, normalize_rewards=True),
    "REINFORCE": lambda: on_policy(agents.ReinforceAgent),
    "IMPALA": lambda: on_policy(agents.ImpalaAgent),
    "APPO": lambda: on_policy(agents.ImpalaAgent, clip_ratio=0.2),
}


def prepared(agent):
    """A state, and experience of 4 examples or sequences with a boundary row, as `train` takes."""
    state = agent.init(jax.random.key(0))
    length = (agent.train_sequence_length or 4) + 1 * hasattr(agent, "prepare")
    rows = sample(agent.collect_data_spec, jax.random.key(1), (4, length))
    step_type = np.full((4, length), StepType.MID)
    step_type[0, 0] = StepType.LAST
    following = np.concatenate([step_type[:, 1:], step_type[:, :1]], axis=1)
    rows = rows._replace(step_type=step_type, next_step_type=following)
    return agent.prepare(state, rows) if hasattr(agent, "prepare") else (state, rows)


@pytest.mark.parametrize("name", AGENTS)
def test_train_takes_a_step_along_the_gradient_of_the_public_loss(name):
    agent = AGENTS[name]()
    state, experience = prepared(agent)
    weights = jnp.linspace(0.5, 1.5, len(jax.tree.leaves(experience)[0]))
    loss_key = jax.random.split(state.key)[1]

    def loss(params):
        return agent.loss(params, state, experience, loss_key, weights).loss

    value, grads = jax.value_and_grad(loss)(state.params)
    after, info = agent.train(state, experience, weights)
    np.testing.assert_allclose(info.loss, value, rtol=1e-5)
    expected = jax.tree.map(lambda x, g: x - 0.1 * g, state.params, grads)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), after.params, expected)
    moved = jax.tree.map(lambda x, y: bool(jnp.any(x != y)), state.params, after.params)
    assert any(jax.tree.leaves(moved))


def test_a_new_agent_needs_four_definitions():
    class Half(agents.OffPolicyAgent):
        def check_networks(self):
            pass

    with pytest.raises(TypeError, match=r"abstract methods.*collect_policy.*init_params.*loss"):
        Half()

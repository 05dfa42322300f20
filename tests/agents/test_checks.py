"""Agents say at once, and by the agent's name, what one of their parts should have been."""

import flax.linen as nn
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import agents, envs, networks
from jax_agents.agents.agent import init_state
from jax_agents.agents.checks import check_parts
from jax_agents.envs.specs import ArraySpec, BoundedSpec, DiscreteSpec, EnvironmentSpecs

DISCRETE = EnvironmentSpecs(ArraySpec((2,)), DiscreteSpec(2))
CONTINUOUS = EnvironmentSpecs(ArraySpec((2,)), BoundedSpec((1,), "float32", -1.0, 1.0))
Q, ACTOR, CRITIC = (
    networks.QNetwork(2),
    networks.ActorNetwork(CONTINUOUS.action),
    networks.CriticNetwork(),
)
POLICY = networks.ActorNetwork(DISCRETE.action)
OPTIMIZER = optax.adam(1e-3)
BOTH = networks.ActorValueNetwork(POLICY, networks.ValueNetwork())
PARTS = {
    agents.DqnAgent: (DISCRETE, Q),
    agents.SacAgent: (CONTINUOUS, ACTOR, CRITIC),
    agents.Td3Agent: (CONTINUOUS, networks.DeterministicActor(CONTINUOUS.action), CRITIC),
    agents.DiscreteSacAgent: (DISCRETE, POLICY, Q),
    agents.PpoAgent: (DISCRETE, BOTH),
    agents.ReinforceAgent: (DISCRETE, POLICY),
    agents.BehavioralCloningAgent: (DISCRETE, POLICY),
    agents.EsAgent: (DISCRETE, POLICY),
}
WITH_TARGETS = [agents.DqnAgent, agents.SacAgent, agents.Td3Agent, agents.DiscreteSacAgent]


def make(kind, specs=None, optimizer=OPTIMIZER, **more):
    given, *nets = PARTS[kind]
    return kind(given if specs is None else specs, *nets, optimizer, **more)


@pytest.mark.parametrize("kind", PARTS)
def test_specs_and_optimizer(kind):
    check_parts(make(kind))
    name, env = kind.__name__, envs.gym.make("CartPole-v1")
    with pytest.raises(
        TypeError,
        match=rf"^{name}: expected the specs of an environment, env.specs, got .*GymEnvironment",
    ):
        make(kind, specs=env)
    with pytest.raises(TypeError, match=rf"^{name}: .*env.specs, got gymnasium.*Box"):
        make(kind, specs=gymnasium.spaces.Box(-1, 1, (2,)))
    for wrong, told in (
        (1e-3, "0.001"),
        (optax.adam, "function"),
        (optax.GradientTransformation, "type"),
        (None, "None"),
    ):
        with pytest.raises(
            TypeError,
            match=rf"^{name}: expected an optimizer such as optax.adam\(1e-3\).*got .*{told}",
        ):
            make(kind, optimizer=wrong)


@pytest.mark.parametrize("wrong", [10, None])
@pytest.mark.parametrize("kind", WITH_TARGETS)
def test_how_targets_follow(kind, wrong):
    with pytest.raises(
        TypeError,
        match=rf"^{kind.__name__}: target_update: .*agents.polyak\(0.005\).*got {wrong}",
    ):
        make(kind, target_update=wrong)


@pytest.mark.parametrize("wrong", ["huber", None])
@pytest.mark.parametrize("kind", [agents.DqnAgent, agents.SacAgent])
def test_the_loss_of_td_errors(kind, wrong):
    with pytest.raises(
        TypeError, match=rf"^{kind.__name__}: td_loss: .*losses.huber.*got {wrong!r}$"
    ):
        make(kind, td_loss=wrong)


@pytest.mark.parametrize("kind", [agents.PpoAgent, agents.A2cAgent, agents.ImpalaAgent])
def test_the_decay_of_traces_is_a_fraction(kind):
    with pytest.raises(ValueError, match=r"expected lambda_ in 0\.\.1, got 95$"):
        kind(DISCRETE, BOTH, OPTIMIZER, lambda_=95)


def test_one_optimizer_for_each_role():
    make(agents.SacAgent, optimizer=dict.fromkeys(("actor", "critic", "alpha"), OPTIMIZER))
    with pytest.raises(TypeError, match=r"got 0.1$"):
        make(agents.SacAgent, optimizer={"actor": OPTIMIZER, "critic": 0.1, "alpha": OPTIMIZER})


class WithStatistics(nn.Module):
    """Keeps statistics beside its parameters."""

    @nn.compact
    def __call__(self, x):
        return nn.BatchNorm(use_running_average=True)(x)


class WithKey(nn.Module):
    """Needs a key when it is applied."""

    @nn.compact
    def __call__(self, x):
        return nn.Dropout(0.5, deterministic=False)(x)


class Plain(nn.Module):
    """Has parameters alone."""

    @nn.compact
    def __call__(self, x):
        return nn.Dropout(0.5, deterministic=True)(nn.LayerNorm()(x))


def values(encoder, **options):
    return networks.QNetwork(2, (4,), encoder=encoder, **options)


def policy(encoder):
    return networks.ActorNetwork(DISCRETE.action, (4,), encoder=encoder)


def actor_value(encoder):
    return networks.ActorValueNetwork(policy(encoder), networks.ValueNetwork((4,)))


def value_only(encoder):
    return networks.ActorValueNetwork(policy(None), networks.ValueNetwork((4,), encoder=encoder))


def memory(encoder):
    return networks.RecurrentActorValueNetwork(
        networks.ActorNetwork(DISCRETE.action, ()), networks.ValueNetwork(()), encoder=encoder
    )


def critic(encoder):
    return networks.CriticNetwork((4,), encoder=encoder)


def tanh_normal(encoder):
    return networks.TanhNormalActor(CONTINUOUS.action, (4,), encoder=encoder)


def deterministic(encoder):
    return networks.DeterministicActor(CONTINUOUS.action, (4,), encoder=encoder)


# Each makes an agent with an encoder in one of its networks.
ENCODED = {
    "DQN": lambda e: agents.DqnAgent(DISCRETE, values(e), OPTIMIZER),
    "C51": lambda e: agents.CategoricalDqnAgent(
        DISCRETE, values(e, num_atoms=5), OPTIMIZER, v_min=0.0, v_max=1.0
    ),
    "QR-DQN": lambda e: agents.QrDqnAgent(DISCRETE, values(e, num_atoms=5), OPTIMIZER),
    "recurrent DQN": lambda e: agents.RecurrentDqnAgent(
        DISCRETE, networks.RecurrentQNetwork(2, encoder=e), OPTIMIZER
    ),
    "SAC, actor": lambda e: agents.SacAgent(CONTINUOUS, tanh_normal(e), CRITIC, OPTIMIZER),
    "SAC, critic": lambda e: agents.SacAgent(CONTINUOUS, ACTOR, critic(e), OPTIMIZER),
    "TD3, actor": lambda e: agents.Td3Agent(CONTINUOUS, deterministic(e), CRITIC, OPTIMIZER),
    "DDPG, critic": lambda e: agents.DdpgAgent(
        CONTINUOUS, deterministic(None), critic(e), OPTIMIZER
    ),
    "discrete SAC, actor": lambda e: agents.DiscreteSacAgent(DISCRETE, policy(e), Q, OPTIMIZER),
    "discrete SAC, critic": lambda e: agents.DiscreteSacAgent(
        DISCRETE, POLICY, values(e), OPTIMIZER
    ),
    "BC": lambda e: agents.BehavioralCloningAgent(DISCRETE, policy(e), OPTIMIZER),
    "ES": lambda e: agents.EsAgent(DISCRETE, policy(e), OPTIMIZER),
    "REINFORCE": lambda e: agents.ReinforceAgent(DISCRETE, policy(e), OPTIMIZER),
    "A2C": lambda e: agents.A2cAgent(DISCRETE, actor_value(e), OPTIMIZER),
    "PPO": lambda e: agents.PpoAgent(DISCRETE, actor_value(e), OPTIMIZER),
    "PPO, value": lambda e: agents.PpoAgent(DISCRETE, value_only(e), OPTIMIZER),
    "PPO, memory": lambda e: agents.PpoAgent(DISCRETE, memory(e), OPTIMIZER),
    "IMPALA": lambda e: agents.ImpalaAgent(DISCRETE, actor_value(e), OPTIMIZER),
}


@pytest.mark.parametrize("name", ENCODED)
def test_a_network_has_parameters_alone(name):
    """An update would take the statistics of a batch for parameters, and has no key for dropout."""
    ENCODED[name](Plain())
    with pytest.raises(
        ValueError, match=r"variables \['batch_stats'\] beside its parameters.*nn.LayerNorm"
    ):
        ENCODED[name](WithStatistics())
    with pytest.raises(ValueError, match=r"leave nn.Dropout out, or make it deterministic"):
        ENCODED[name](WithKey())


def test_parameters_of_an_agent_of_ones_own_are_parameters_alone():
    variables = jax.jit(WithStatistics().init)(jax.random.key(0), jnp.zeros(2))
    with pytest.raises(ValueError, match=r"variables \['batch_stats'\] beside its parameters"):
        init_state({"net": variables}, OPTIMIZER, jax.random.key(0))
    init_state({"net": {"w": np.zeros(2), "b": np.zeros(2)}}, OPTIMIZER, jax.random.key(0))

"""Agents say at once, and by the agent's name, what one of their parts should have been."""

import gymnasium
import optax
import pytest

from jax_agents import agents, envs, networks
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

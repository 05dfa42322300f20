import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents.agents import DdpgAgent, Td3Agent, losses
from jax_agents.envs.specs import ArraySpec, BoundedSpec, DiscreteSpec, EnvironmentSpecs
from jax_agents.envs.types import Trajectory
from jax_agents.networks import CriticNetwork, DeterministicActor
from jax_agents.networks.distributions import Deterministic
from jax_agents.policies import GaussianNoisePolicy, OrnsteinUhlenbeckPolicy

SPECS = EnvironmentSpecs(ArraySpec((2,)), BoundedSpec((1,), np.float32, -1.0, 1.0))


class LinearActor:
    """a = 2 o[0] + o[1] + 5, whatever the bounds (numeric_cases.md, section 7)."""

    def init(self, key, observation):
        return {"kernel": jnp.array([[2.0], [1.0]]), "bias": jnp.array([5.0])}

    def apply(self, variables, observation):
        return Deterministic(observation @ variables["kernel"] + variables["bias"], 1)


class LinearCritic:
    """Q(o, a) = o[0] + 3 o[1] + 2 a + 4."""

    def init(self, key, observation, action):
        return {
            "observation": jnp.array([1.0, 3.0]),
            "action": jnp.array([2.0]),
            "bias": jnp.array(4.0),
        }

    def apply(self, variables, observation, action):
        return (
            observation @ variables["observation"]
            + action @ variables["action"]
            + variables["bias"]
        )


def data():
    # [[1, 2], [5, 6]], [[3, 4], [7, 8]]
    observations = jnp.arange(1.0, 9.0).reshape(2, 2, 2).swapaxes(0, 1)
    row = lambda values, dtype=jnp.float32: jnp.tile(jnp.asarray(values, dtype)[:, None], (1, 2))
    types, actions = (
        jnp.array([[0, 1], [0, 1]], jnp.int32),
        jnp.tile(jnp.array([[[5.0]], [[6.0]]]), (1, 2, 1)),
    )
    return Trajectory(
        types, observations, actions, (), row([1, 1], jnp.int32), row([10, 20]), row([0.9, 0.9])
    )


def dummy(cls, **fields):
    return cls(
        SPECS,
        LinearActor(),
        LinearCritic(),
        optax.sgd(1e-3),
        gamma=1.0,
        **{"td_loss": losses.huber} | fields,
    )


def info_of(agent):
    def init_and_loss(key):
        state = agent.init(key)
        return agent.loss(state.params, state, data(), key)

    return jax.jit(init_and_loss)(jax.random.key(0))


def test_ddpg_losses_by_hand():
    info = info_of(dummy(DdpgAgent))
    np.testing.assert_allclose(info.metrics["critic_loss"], 59.6, rtol=1e-6)  # case 7.1
    np.testing.assert_allclose(info.metrics["actor_loss"], -39.0, rtol=1e-6)  # case 7.3
    np.testing.assert_allclose(info.loss, 59.6 - 39.0, rtol=1e-6)
    np.testing.assert_allclose(info.per_example["td_error"], [51.1, 69.1], rtol=1e-6)


def test_td3_losses_by_hand():
    # Target actions 21 and 27, with any noise, are clipped to the bound 1: next values 29 and 37,
    # targets 36.1 and 53.3, predictions 21 and 31, errors 15.1 and 22.3, Huber 14.6 and 21.8, for
    # each of two critics. The actor is not clipped.
    info = info_of(dummy(Td3Agent))
    np.testing.assert_allclose(info.metrics["critic_loss"], 14.6 + 21.8, rtol=1e-6)
    np.testing.assert_allclose(info.metrics["actor_loss"], -39.0, rtol=1e-6)


def test_noise_on_target_actions_is_clipped_and_in_units_of_half_the_range():
    """With enormous noise, every target action is off by exactly the clip, up or down, and not all
    go the same way.
    """
    specs = EnvironmentSpecs(ArraySpec((2,)), BoundedSpec((1,), np.float32, -100.0, 100.0))
    agent = Td3Agent(
        specs,
        LinearActor(),
        LinearCritic(),
        optax.sgd(0.1),
        target_noise=1e6,
        target_noise_clip=0.5,
        gamma=1.0,
    )
    batch = jax.tree.map(lambda x: jnp.tile(x[:1], (64,) + (1,) * (x.ndim - 1)), data())
    state = agent.init(jax.random.key(0))
    error = agent.loss(state.params, state, batch, jax.random.key(1)).per_example["td_error"]
    # Action 21 -+ 50 has the value 69 -+ 100; the target is 10 + 0.9 x that; the prediction 21.
    np.testing.assert_allclose(
        np.unique(np.asarray(error).round(2)),
        [abs(10 + 0.9 * -31 - 21), 10 + 0.9 * 169 - 21],
        rtol=1e-5,
    )


def test_the_actor_and_the_targets_move_on_every_second_update_only():
    agent = Td3Agent(
        SPECS, DeterministicActor(SPECS.action, (4,)), CriticNetwork((4,)), optax.adam(1e-2)
    )
    train = jax.jit(agent.train)
    states = [jax.jit(agent.init)(jax.random.key(0))]
    for _ in range(4):
        states.append(train(states[-1], data())[0])
    same = lambda a, b: all(
        bool((x == y).all()) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )
    pairs = list(itertools.pairwise(states))
    assert [same(a.params["actor"], b.params["actor"]) for a, b in pairs] == [
        True,
        False,
        True,
        False,
    ]
    assert [same(a.target_params, b.target_params) for a, b in pairs] == [True, False, True, False]
    assert [same(a.params["critic"], b.params["critic"]) for a, b in pairs] == [False] * 4
    # Where it moves, it moves as an optimizer that has seen these gradients only: Adam's first step
    # is lr x sign(gradient).
    moved = jax.tree.map(
        lambda a, b: jnp.abs(a - b).max(), states[1].params["actor"], states[2].params["actor"]
    )
    np.testing.assert_allclose(max(jax.tree.leaves(moved)), 1e-2, rtol=1e-3)


def test_the_exploration_noise_is_chosen_by_its_fields():
    nets = (DeterministicActor(SPECS.action, (4,)), CriticNetwork((4,)), optax.sgd(0.1))
    assert isinstance(Td3Agent(SPECS, *nets).collect_policy, GaussianNoisePolicy)
    policy = DdpgAgent(SPECS, *nets, exploration_damping=0.15).collect_policy
    assert isinstance(policy, OrnsteinUhlenbeckPolicy) and policy.damping == 0.15


@pytest.mark.parametrize("cls", [Td3Agent, DdpgAgent])
def test_what_does_not_fit_is_refused(cls):
    nets = (DeterministicActor(SPECS.action, (4,)), CriticNetwork((4,)), optax.sgd(0.1))
    with pytest.raises(ValueError, match=rf"{cls.__name__}.*int32.*DiscreteSacAgent"):
        cls(EnvironmentSpecs(ArraySpec((2,)), DiscreteSpec(3)), *nets)
    with pytest.raises(ValueError, match=rf"{cls.__name__}.*finite bounds.*inf"):
        cls(EnvironmentSpecs(ArraySpec((2,)), BoundedSpec((1,), np.float32, 0.0, np.inf)), *nets)
    with pytest.raises(ValueError, match="actor_delay >= 1, got 0"):
        cls(SPECS, *nets, actor_delay=0)
    with pytest.raises(
        ValueError, match=r"one for each role \['actor', 'critic'\], got \['critic'\]"
    ):
        cls(SPECS, *nets[:2], {"critic": optax.sgd(0.1)}).init(jax.random.key(0))

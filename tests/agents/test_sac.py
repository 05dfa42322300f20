import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct

from jax_agents.agents import SacAgent, losses
from jax_agents.envs.specs import ArraySpec, BoundedSpec, DiscreteSpec, EnvironmentSpecs
from jax_agents.envs.types import Trajectory
from jax_agents.networks import CriticNetwork, TanhNormalActor

SPECS = EnvironmentSpecs(ArraySpec((2,)), BoundedSpec((1,), np.float32, -1.0, 1.0))


@struct.dataclass
class AlwaysOne:
    """The action 1, whose log-probability is said to be 10 (numeric_cases.md, section 5)."""

    value: jax.Array

    def sample_and_log_prob(self, key):
        return self.value, 10.0 + 0.0 * self.value[..., 0]

    def mode(self):
        return self.value


class OneActor:
    def init(self, key, observation):
        return {"value": jnp.ones(1)}

    def apply(self, variables, observation):
        return AlwaysOne(jnp.broadcast_to(variables["value"], (*observation.shape[:-1], 1)))


class LinearCritic:
    """Q(o, a) = o[1] + a."""

    def init(self, key, observation, action):
        return {"observation": jnp.array([0.0, 1.0]), "action": jnp.ones(1)}

    def apply(self, variables, observation, action):
        return observation @ variables["observation"] + action @ variables["action"]


def data(num_rows=2):
    # [[1, 2], [5, 6], [9, 10]], ...
    observations = jnp.arange(1.0, 13.0).reshape(3, 2, 2).swapaxes(0, 1)[:, :num_rows]
    row = lambda values, dtype=jnp.float32: jnp.tile(
        jnp.asarray(values, dtype)[:, None], (1, num_rows)
    )
    types = jnp.tile(jnp.array([0, 1, 1], jnp.int32)[:num_rows], (2, 1))
    actions = jnp.tile(jnp.array([[[5.0]], [[6.0]]]), (1, num_rows, 1))
    return Trajectory(
        types, observations, actions, (), row([1, 1], jnp.int32), row([10, 20]), row([0.9, 0.9])
    )


def dummy(**fields):
    return SacAgent(SPECS, OneActor(), LinearCritic(), optax.sgd(0.1), gamma=1.0, **fields)


def test_losses_by_hand():
    agent = dummy()
    state = agent.init(jax.random.key(0))
    info = jax.jit(agent.loss)(state.params, state, data(), jax.random.key(1))
    np.testing.assert_allclose(info.metrics["critic_loss"], 82.9, rtol=1e-6)  # case 5.1
    np.testing.assert_allclose(info.metrics["actor_loss"], 6.0, rtol=1e-6)  # case 5.3
    # -alpha (log pi + target entropy of -1)
    np.testing.assert_allclose(info.metrics["alpha_loss"], -(10 - 1), rtol=1e-6)
    np.testing.assert_allclose(info.loss, 82.9 + 6.0 - 9.0, rtol=1e-6)
    np.testing.assert_allclose(info.per_example["td_error"], [0.3, 9.1], rtol=1e-5)


def test_the_temperature_multiplies_entropy_in_targets_and_actor():
    # alpha 0.5: next values (7 - 5, 9 - 5); targets (11.8, 23.6); errors (4.8, 13.6); actor 0.5 x
    # 10 - mean(3, 5).
    agent = dummy(temperature=0.5, learn_temperature=False)
    state = agent.init(jax.random.key(0))
    info = agent.loss(state.params, state, data(), jax.random.key(1))
    np.testing.assert_allclose(info.metrics["critic_loss"], 4.8**2 + 13.6**2, rtol=1e-6)
    np.testing.assert_allclose(info.metrics["actor_loss"], 1.0, rtol=1e-6)
    assert set(state.params) == {"actor", "critic"} and "alpha" not in info.metrics


def test_n_step_targets_by_hand():
    # 10 + 0.9 x 10 + 0.81 x (10 + 1 - 10) = 19.81; 20 + 18 + 0.81 x (12 + 1 - 10) = 40.43;
    # predictions 7 and 10.
    agent = dummy(n_step=2)
    state = agent.init(jax.random.key(0))
    info = agent.loss(state.params, state, data(3), jax.random.key(1))
    np.testing.assert_allclose(info.per_example["td_error"], [12.81, 30.43], rtol=1e-5)


def test_any_number_of_critics_and_the_lowest_counts():
    agent = dummy(num_critics=3, td_loss=losses.huber)
    state = agent.init(jax.random.key(0))
    lowered = jax.tree.map(jnp.copy, state.target_params)
    # its values are lower by 2
    lowered["critic"]["action"] = lowered["critic"]["action"].at[2].set(-1.0)
    info = agent.loss(state.params, state.replace(target_params=lowered), data(), jax.random.key(1))
    # Targets fall by 0.9 x 2 to (5.5, 17.3); errors (-1.5, 7.3); Huber (1.0, 6.8), for each of
    # three critics.
    np.testing.assert_allclose(info.metrics["critic_loss"], 3 * (1.0 + 6.8) / 2, rtol=1e-5)


@pytest.mark.parametrize("target_entropy, sign", [(-100.0, -1), (100.0, 1)])
def test_the_temperature_moves_towards_the_target_entropy(target_entropy, sign):
    agent = dummy(target_entropy=target_entropy)
    state = agent.init(jax.random.key(0))
    after, info = agent.train(state, data())
    assert np.sign(after.params["alpha"] - state.params["alpha"]) == sign
    np.testing.assert_allclose(info.metrics["alpha"], 1.0)


def test_the_default_target_entropy_is_minus_one_for_each_action_in_units_of_half_its_range():
    for spec, expected in [
        (BoundedSpec((3,), np.float32, -1.0, 1.0), -3.0),
        (BoundedSpec((2,), np.float32, (-2.0, 0.0), (2.0, 1.0)), -2.0 + np.log(2.0) + np.log(0.5)),
    ]:
        agent = SacAgent(
            EnvironmentSpecs(ArraySpec((2,)), spec),
            TanhNormalActor(spec, (4,)),
            CriticNetwork((4,)),
            optax.sgd(0.1),
        )
        np.testing.assert_allclose(agent._target_entropy, expected, rtol=1e-6)


def test_what_does_not_fit_is_refused():
    box, nets = (
        SPECS.action,
        (TanhNormalActor(SPECS.action, (4,)), CriticNetwork((4,)), optax.sgd(0.1)),
    )
    discrete = EnvironmentSpecs(ArraySpec((2,)), DiscreteSpec(3))
    with pytest.raises(ValueError, match=r"SacAgent.*int32.*DiscreteSacAgent"):
        SacAgent(discrete, *nets)
    unbounded = EnvironmentSpecs(ArraySpec((2,)), BoundedSpec((1,), np.float32, -np.inf, 1.0))
    with pytest.raises(ValueError, match=r"finite bounds.*-inf.*TransformAction"):
        SacAgent(unbounded, *nets)
    with pytest.raises(ValueError, match="one continuous action"):
        SacAgent(EnvironmentSpecs(ArraySpec((2,)), {"a": box}), *nets)
    two = BoundedSpec((2,), np.float32, -1.0, 1.0)
    with pytest.raises(ValueError, match=r"actor: expected outputs \[2, 3, 1\].*got \[2, 3, 2\]"):
        SacAgent(SPECS, TanhNormalActor(two, (4,)), *nets[1:])
    with pytest.raises(ValueError, match=r"actor: cannot take.*encoder"):
        SacAgent(EnvironmentSpecs(ArraySpec(()), box), *nets)
    for fields, message in [
        ({"n_step": 0}, "n_step >= 1, got 0"),
        ({"gamma": 1.5}, "gamma in 0..1, got 1.5"),
        ({"temperature": 0.0}, "temperature above 0"),
        ({"num_critics": 0}, "num_critics >= 1, got 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            SacAgent(SPECS, *nets, **fields)


def test_windows_of_another_length_are_refused():
    agent = dummy()
    with pytest.raises(ValueError, match=r"expected step types \[B, T=2\], got \[2, 3\]"):
        agent.train(agent.init(jax.random.key(0)), data(3))

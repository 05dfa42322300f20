import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents.agents import DiscreteSacAgent
from jax_agents.envs.specs import ArraySpec, BoundedSpec, DiscreteSpec, EnvironmentSpecs
from jax_agents.envs.types import Trajectory, split_action_mask
from jax_agents.networks import ActorNetwork, QNetwork
from jax_agents.networks.distributions import Categorical

SPECS = EnvironmentSpecs(ArraySpec((1,)), DiscreteSpec(3))
MASKED = EnvironmentSpecs(
    {"observation": ArraySpec((1,)), "action_mask": ArraySpec((3,), np.bool_)}, DiscreteSpec(3)
)
PROBS = np.array([0.5, 0.3, 0.2])


class FixedActor:
    """Probabilities (0.5, 0.3, 0.2) everywhere, before the mask."""

    def init(self, key, observation):
        return {"logits": jnp.log(jnp.asarray(PROBS, jnp.float32))}

    def apply(self, variables, observation):
        observation, mask = split_action_mask(observation)
        return Categorical(
            jnp.broadcast_to(variables["logits"], (*observation.shape[:-1], 3)), mask
        )


class LinearCritic:
    """Q(o, a) = o x (1, 2, 3)."""

    def init(self, key, observation):
        return {"kernel": jnp.array([[1.0, 2.0, 3.0]])}

    def apply(self, variables, observation):
        return observation @ variables["kernel"]


def data(mask=None, next_mask=None):
    observation = jnp.array([[[1.0], [2.0]]])
    if mask is not None:
        observation = {"observation": observation, "action_mask": jnp.array([[mask, next_mask]])}
    types, action = jnp.array([[0, 1]], jnp.int32), jnp.array([[1, 0]], jnp.int32)
    return Trajectory(
        types, observation, action, (), types + 1, jnp.array([[1.0, 0.0]]), jnp.array([[1.0, 1.0]])
    )


def info_of(specs, experience, **fields):
    agent = DiscreteSacAgent(
        specs, FixedActor(), LinearCritic(), optax.sgd(0.1), gamma=0.5, **fields
    )

    def init_and_loss(key):
        state = agent.init(key)
        return agent.loss(state.params, state, experience, key)

    return jax.jit(init_and_loss)(jax.random.key(0))


def test_losses_by_hand():
    entropy = -(PROBS * np.log(PROBS)).sum()
    info = info_of(SPECS, data())
    # V(2) = 2 x (0.5 + 0.6 + 0.6) + entropy; the target is 1 + 0.5 V; the prediction Q(1, 1) is 2;
    # two critics.
    error = 1 + 0.5 * (3.4 + entropy) - 2
    np.testing.assert_allclose(info.metrics["critic_loss"], 2 * error**2, rtol=1e-5)
    np.testing.assert_allclose(info.metrics["actor_loss"], -(1.7 + entropy), rtol=1e-5)
    np.testing.assert_allclose(info.metrics["alpha_loss"], entropy - 0.98 * np.log(3), rtol=1e-5)
    np.testing.assert_allclose(info.per_example["td_error"], [abs(error)], rtol=1e-5)


def test_masks_hold_in_targets_actor_and_temperature():
    info = info_of(
        MASKED,
        data(mask=[True, True, False], next_mask=[False, True, True]),
        learn_temperature=True,
    )
    now, then = np.array([5 / 8, 3 / 8]), np.array([3 / 5, 2 / 5])
    entropy, next_entropy = -(now * np.log(now)).sum(), -(then * np.log(then)).sum()
    error = 1 + 0.5 * (then @ [4.0, 6.0] + next_entropy) - 2
    np.testing.assert_allclose(info.metrics["critic_loss"], 2 * error**2, rtol=1e-5)
    np.testing.assert_allclose(info.metrics["actor_loss"], -(now @ [1.0, 2.0] + entropy), rtol=1e-5)
    np.testing.assert_allclose(info.metrics["alpha_loss"], entropy - 0.98 * np.log(2), rtol=1e-5)
    assert np.isfinite(info.loss)


def test_a_mask_that_forbids_everything_after_the_end_does_no_harm():
    agent = DiscreteSacAgent(
        MASKED, ActorNetwork(DiscreteSpec(3), (4,)), QNetwork(3, (4,)), optax.sgd(0.1)
    )
    experience = data(mask=[True, True, False], next_mask=[False, False, False])
    state, info = jax.jit(agent.train)(jax.jit(agent.init)(jax.random.key(0)), experience)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state.params, info)))


def test_what_does_not_fit_is_refused():
    nets = (ActorNetwork(DiscreteSpec(3), (4,)), QNetwork(3, (4,)), optax.sgd(0.1))
    with pytest.raises(
        ValueError, match=r"DiscreteSacAgent: expected one discrete action.*SacAgent"
    ):
        DiscreteSacAgent(
            EnvironmentSpecs(ArraySpec((1,)), BoundedSpec((1,), np.float32, -1.0, 1.0)), *nets
        )
    with pytest.raises(ValueError, match=r"expected values \[2, 3, 3\].*got \[2, 3, 4\]"):
        DiscreteSacAgent(SPECS, nets[0], QNetwork(4, (4,)), nets[2])

import jax
import jax.numpy as jnp
import numpy as np

from jax_agents.envs.specs import DiscreteSpec
from jax_agents.networks import MLP, ActorNetwork, ActorValueNetwork, ValueNetwork

OBSERVATION = {
    "observation": jnp.arange(24.0).reshape(2, 3, 4),
    "action_mask": jnp.ones((2, 3, 2), bool).at[0, 0, 1].set(False),
}


def test_value_has_the_batch_shape_and_ignores_the_mask():
    network = ValueNetwork(hidden=(8,))
    value, variables = network.init_with_output(jax.random.key(0), OBSERVATION)
    assert value.shape == (2, 3)
    np.testing.assert_array_equal(value, network.apply(variables, OBSERVATION["observation"]))
    np.testing.assert_allclose(
        jnp.linalg.norm(variables["params"]["Dense_0"]["kernel"]), 1.0, rtol=1e-5
    )


def test_towers_share_nothing_or_a_trunk():
    def gradient(network):
        variables = network.init(jax.random.key(1), OBSERVATION)
        return jax.grad(lambda v: jnp.sum(network.apply(v, OBSERVATION)[1]))(variables)["params"]

    apart = gradient(
        ActorValueNetwork(ActorNetwork(DiscreteSpec(2), hidden=(8,)), ValueNetwork(hidden=(8,)))
    )
    assert set(apart) == {"actor", "value"}
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(apart["actor"]))
    shared = gradient(
        ActorValueNetwork(
            ActorNetwork(DiscreteSpec(2), hidden=()), ValueNetwork(hidden=()), trunk=MLP((8,))
        )
    )
    assert set(shared) == {"actor", "value", "trunk"}
    assert jnp.abs(shared["trunk"]["Dense_0"]["kernel"]).max() > 0


def test_trunk_leaves_the_mask_to_the_actor():
    network = ActorValueNetwork(
        ActorNetwork(DiscreteSpec(2), hidden=()), ValueNetwork(hidden=()), trunk=MLP((8,))
    )
    (distribution, value), _ = network.init_with_output(jax.random.key(0), OBSERVATION)
    assert value.shape == (2, 3)
    assert distribution.probs[0, 0].tolist() == [1.0, 0.0]

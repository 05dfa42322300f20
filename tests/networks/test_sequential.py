"""Sequential: layers in turn."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jax_agents import networks


def test_layers_and_functions_in_turn():
    ones = nn.initializers.ones
    network = networks.Sequential(
        [nn.Dense(2, kernel_init=ones), lambda x: -x, nn.relu, nn.Dense(1, kernel_init=ones)]
    )
    params = network.init(jax.random.key(0), jnp.zeros(2))
    np.testing.assert_allclose(
        network.apply(params, jnp.array([[1.0, 2.0], [-1.0, -2.0]])), [[0], [6]]
    )
    assert len(jax.tree.leaves(params)) == 4


def test_a_dict_observation_may_enter_through_an_encoder():
    network = networks.Sequential([networks.DictEncoder({}), nn.Dense(3)])
    observation = {"a": jnp.zeros((5, 2)), "b": jnp.zeros((5, 1))}
    values, params = network.init_with_output(jax.random.key(0), observation)
    assert values.shape == (5, 3)
    assert networks.num_params(params) == 3 * 3 + 3
    assert networks.Sequential([]).apply({}, 7) == 7

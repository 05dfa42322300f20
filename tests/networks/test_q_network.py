"""QNetwork: the tutorial's network and its initialisers, with encoders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents import networks
from jax_agents.envs.specs import DiscreteSpec


def test_the_tutorials_network_and_initialisers():
    network = networks.QNetwork(2, hidden=(100, 50))
    params = network.init(jax.random.key(0), jnp.zeros(4))["params"]
    hidden, output = params["MLP_0"], params["Dense_0"]
    np.testing.assert_allclose(output["bias"], [-0.2, -0.2])
    kernel = np.asarray(output["kernel"])
    assert kernel.shape == (50, 2)
    assert kernel.min() < -0.02 and kernel.max() > 0.02 and np.abs(kernel).max() <= 0.03
    np.testing.assert_allclose(hidden["Dense_1"]["kernel"].std(), np.sqrt(2 / 100), rtol=0.1)
    np.testing.assert_array_equal(hidden["Dense_0"]["bias"], np.zeros(100))


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_any_leading_axes_and_dtypes(batch):
    network = networks.QNetwork(3, (8,))
    params = network.init(jax.random.key(0), jnp.zeros(4))
    observation = np.random.default_rng(0).normal(size=(*batch, 4))
    values = network.apply(params, observation.astype(np.float16))
    assert values.shape == (*batch, 3) and values.dtype == jnp.float32
    last = network.apply(params, observation.astype(np.float16).reshape(-1, 4)[-1])
    np.testing.assert_allclose(values.reshape(-1, 3)[-1], last, rtol=1e-5)


def test_options_replace_the_defaults():
    ones = jax.nn.initializers.ones
    network = networks.QNetwork(
        1,
        (2,),
        activation=jnp.tanh,
        kernel_init=ones,
        output_kernel_init=ones,
        output_bias_init=ones,
    )
    values = network.init_with_output(jax.random.key(0), jnp.array([0.3, 0.4]))[0]
    np.testing.assert_allclose(values, [1 + 2 * np.tanh(0.7)], rtol=1e-6)
    linear = networks.QNetwork(1, (), output_kernel_init=ones, output_bias_init=ones)
    np.testing.assert_allclose(
        linear.init_with_output(jax.random.key(0), jnp.array([0.3, 0.4]))[0], [1.7], rtol=1e-6
    )


def test_an_encoder_comes_first():
    network = networks.QNetwork(2, (4,), encoder=networks.OneHot(DiscreteSpec(5)))
    params = network.init(jax.random.key(0), jnp.int32(0))
    assert network.apply(params, jnp.arange(5)).shape == (5, 2)
    assert params["params"]["MLP_0"]["Dense_0"]["kernel"].shape == (5, 4)


@pytest.mark.parametrize(
    "observation", [{"a": jnp.zeros(2)}, jnp.float32(1), (jnp.zeros(2), jnp.zeros(3))]
)
def test_other_observations_need_an_encoder(observation):
    with pytest.raises(ValueError, match=r"expected a vector observation.*default_encoder"):
        networks.QNetwork(2).init(jax.random.key(0), observation)


OBSERVATION = jax.random.normal(jax.random.key(5), (6, 4))


@pytest.mark.parametrize("num_atoms", [None, 7])
def test_dueling_heads_are_identified(num_atoms):
    """A shift of all advantages changes nothing, since their mean over actions is subtracted.

    A shift of the state's value shifts all values.
    """
    network = networks.QNetwork(3, (8,), head_hidden=(5,), dueling=True, num_atoms=num_atoms)
    params = network.init(jax.random.key(0), OBSERVATION)
    values = network.apply(params, OBSERVATION)
    assert values.shape == (6, 3) + (() if num_atoms is None else (num_atoms,))
    heads = {
        params["params"][name]["bias"].shape[0] // (num_atoms or 1): name
        for name in ("Dense_0", "Dense_1")
    }
    shift = lambda name, by: jax.tree_util.tree_map_with_path(
        lambda path, x: x + by * (path[1].key == name and path[-1].key == "bias"), params
    )
    np.testing.assert_allclose(network.apply(shift(heads[3], 1.5), OBSERVATION), values, atol=1e-5)
    np.testing.assert_allclose(
        network.apply(shift(heads[1], 1.5), OBSERVATION), values + 1.5, atol=1e-5
    )


def test_plain_heads_and_dueling_heads_differ_in_parameters_by_the_value_head():
    """The counts are those of RLlib's default distributional Q-model, 66,306 and 66,049.

    It has layers of 256 and 256, then heads of 256.
    """
    count = lambda **options: networks.num_params(
        networks.QNetwork(2, (256, 256), **options).init(jax.random.key(0), jnp.zeros(4))
    )
    trunk = 1280 + 65_792
    assert count() == trunk + 514
    assert count(head_hidden=(256,)) == trunk + 66_306
    assert count(head_hidden=(256,), dueling=True) == trunk + 66_306 + 66_049


def test_atoms_give_outputs_for_each_action():
    network = networks.QNetwork(3, (8,), num_atoms=5)
    params = network.init(jax.random.key(0), OBSERVATION)
    outputs = network.apply(params, OBSERVATION)
    hidden = networks.MLP((8,)).apply({"params": params["params"]["MLP_0"]}, OBSERVATION)
    dense = params["params"]["Dense_0"]
    np.testing.assert_allclose(
        outputs, (hidden @ dense["kernel"] + dense["bias"]).reshape(6, 3, 5), rtol=1e-5
    )


def test_noisy_networks_have_noisy_layers_only():
    network = networks.QNetwork(3, (8, 6), head_hidden=(5,), dueling=True, noisy_sigma=0.4)
    params = network.init(jax.random.key(0), OBSERVATION)["params"]
    assert all(name.startswith("NoisyDense") for name in params) and len(params) == 6
    sizes = {layer["kernel"].shape: float(layer["bias_sigma"][0]) for layer in params.values()}
    assert sizes == {(n, m): pytest.approx(0.4 / n**0.5) for n, m in sizes}

"""Recurrent cores: resets, carries, and one step at a time."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.envs.specs import ArraySpec, DiscreteSpec
from jax_agents.networks import (
    GRU,
    LSTM,
    ActorNetwork,
    RecurrentActorValueNetwork,
    RecurrentQNetwork,
    ValueNetwork,
)
from jax_agents.networks.recurrent import carry_spec, first_step, init, is_recurrent, step

T = 6
INPUTS = jax.random.normal(jax.random.key(0), (3, T, 4))


def random_carry(network, key):
    return jax.tree.map(lambda x: jax.random.normal(key, x.shape), network.initial_carry((3,)))


NETWORKS = {"lstm": LSTM(5), "gru": GRU(5), "q": RecurrentQNetwork(2, core=GRU(5), hidden=(7,))}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    """A core or network with an apply function of its own variables, compiled."""
    module = NETWORKS[request.param]
    variables = module.init(
        jax.random.key(1), INPUTS, jnp.zeros((3, T), bool), module.initial_carry((3,))
    )
    return module, jax.jit(partial(module.apply, variables))


def test_a_reset_in_the_middle_makes_two_sequences(network):
    module, apply = network
    start = random_carry(module, jax.random.key(2))
    resets = jnp.zeros((3, T), bool).at[:, 4].set(True)
    outputs, carry = apply(INPUTS, resets, start)
    first, _ = apply(INPUTS[:, :4], resets[:, :4], start)
    second, last = apply(INPUTS[:, 4:], jnp.zeros((3, 2), bool), module.initial_carry((3,)))
    np.testing.assert_allclose(outputs, jnp.concatenate([first, second], axis=1), atol=1e-6)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), carry, last)
    unbroken, _ = apply(INPUTS, jnp.zeros((3, T), bool), start)
    np.testing.assert_allclose(outputs[:, :4], unbroken[:, :4], atol=1e-6)
    assert float(jnp.abs(outputs[:, 4:] - unbroken[:, 4:]).max()) > 1e-3


def test_each_sequence_of_a_batch_resets_by_itself(network):
    module, apply = network
    start = random_carry(module, jax.random.key(2))
    resets = jnp.array(
        [[False] * T, [True] + [False] * (T - 1), [False, False, True, True, False, True]]
    )
    outputs, _ = apply(INPUTS, resets, start)
    for i in range(3):
        alone, _ = apply(
            INPUTS[i : i + 1], resets[i : i + 1], jax.tree.map(lambda x, i=i: x[i : i + 1], start)
        )
        np.testing.assert_allclose(outputs[i], alone[0], atol=1e-6)
    fresh, _ = apply(INPUTS[1:2], resets[1:2], module.initial_carry((1,)))
    np.testing.assert_allclose(outputs[1], fresh[0], atol=1e-6)


def test_one_step_at_a_time_is_the_same(network):
    module, apply = network
    start = carry = random_carry(module, jax.random.key(2))
    resets = jnp.zeros((3, T), bool).at[1, 3].set(True)
    expected, end = apply(INPUTS, resets, start)
    for t in range(T):
        output, carry = step(apply, INPUTS[:, t], resets[:, t], carry)
        np.testing.assert_allclose(output, expected[:, t], atol=1e-6)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), carry, end)
    # no batch axis
    single, _ = step(apply, INPUTS[0, 0], resets[0, 0], jax.tree.map(lambda x: x[0], start))
    np.testing.assert_allclose(single, expected[0, 0], atol=1e-6)


def test_an_lstm_cell_by_hand():
    """One unit, all kernels 1 and biases 0: gates sigmoid(x + h), candidate tanh(x + h)."""
    module = LSTM(1)
    x, c, h = 0.5, 0.3, -0.2
    variables = module.init(
        jax.random.key(0), jnp.zeros((1, 1)), jnp.zeros((1,), bool), module.initial_carry()
    )
    ones = jax.tree_util.tree_map_with_path(
        lambda path, v: jnp.full(v.shape, float("kernel" in str(path[-1]))), variables
    )
    outputs, carry = module.apply(
        ones, jnp.array([[x]]), jnp.array([False]), (jnp.array([c]), jnp.array([h]))
    )
    gate, candidate = 1 / (1 + np.exp(-(x + h))), np.tanh(x + h)
    cell = gate * c + gate * candidate
    np.testing.assert_allclose(carry[0], [cell], rtol=1e-6)
    np.testing.assert_allclose(outputs, [[gate * np.tanh(cell)]], rtol=1e-6)


@pytest.mark.parametrize(
    ("module", "cell"),
    [(LSTM(5), nn.OptimizedLSTMCell(5)), (GRU(5), nn.GRUCell(5))],
    ids=["lstm", "gru"],
)
def test_one_step_is_that_of_flaxs_cell(module, cell):
    """Whose kernels, one for each gate, are parts of ours."""
    variables = init(module, jax.random.key(1), ArraySpec((4,)))
    ours = jax.tree.map(
        lambda x: jax.random.normal(jax.random.key(x.size), x.shape), variables["params"]
    )
    start = random_carry(module, jax.random.key(2))
    outputs, carry = step(
        partial(module.apply, {"params": ours}), INPUTS[:, 0], jnp.zeros(3, bool), start
    )
    names = "ifgo" if isinstance(module, LSTM) else "rzn"
    theirs = {}
    for k, name in enumerate(names):
        part = lambda x, k=k: jnp.split(x, len(names), axis=-1)[k]
        inputs, hidden = (
            {"kernel": part(ours["input"]["kernel"])},
            {"kernel": part(ours["hidden_kernel"])},
        )
        (hidden if isinstance(module, LSTM) else inputs)["bias"] = part(ours["input"]["bias"])
        if name == "n":
            hidden["bias"] = ours["hidden_bias"]
        theirs |= {f"i{name}": inputs, f"h{name}": hidden}
    expected, output = cell.apply({"params": theirs}, start, INPUTS[:, 0])
    np.testing.assert_allclose(outputs, output, atol=1e-5)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), carry, expected)


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
def test_actor_and_value_share_a_memory_or_have_their_own(own):
    heads = ActorNetwork(DiscreteSpec(2), hidden=()), ValueNetwork(hidden=())
    network = RecurrentActorValueNetwork(*heads, core=LSTM(5), value_core=GRU(3) if own else None)
    variables = init(network, jax.random.key(0), ArraySpec((4,)))
    assert set(variables["params"]) == {"actor", "value", "core"} | (
        {"value_core"} if own else set()
    )
    assert is_recurrent(network) and not is_recurrent(heads[0])
    shapes = [spec.shape for spec in jax.tree.leaves(carry_spec(network))]
    assert shapes == ([(5,), (5,), (3,)] if own else [(5,), (5,)])

    def value(carry):
        (_, values), _ = network.apply(variables, INPUTS, jnp.zeros((3, T), bool), carry)
        return values.sum()

    grads = jax.jit(jax.grad(value))(random_carry(network, jax.random.key(2)))
    assert [bool(leaf.any()) for leaf in jax.tree.leaves(grads)] == (
        [False, False, True] if own else [True, True]
    )
    distribution, values = first_step(network, variables, INPUTS, ArraySpec((4,)))
    assert distribution.logits.shape == (3, T, 2) and values.shape == (3, T)


def test_action_masks_pass_the_memory_by():
    heads = ActorNetwork(DiscreteSpec(2), hidden=()), ValueNetwork(hidden=())
    network = RecurrentActorValueNetwork(*heads, core=GRU(3))
    spec = {"observation": ArraySpec((4,)), "action_mask": ArraySpec((2,), np.bool_)}
    variables = init(network, jax.random.key(0), spec)
    masks = jnp.array([[True, False], [False, True], [True, True]])
    distribution, values = first_step(
        network, variables, {"observation": INPUTS[:, 0], "action_mask": masks}, spec
    )
    assert distribution.probs[:2].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    plain = first_step(network, variables, INPUTS[:, 0], ArraySpec((4,)))[1]
    np.testing.assert_allclose(values, plain, rtol=1e-6)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"inputs \[..., T, size\].*got \[3, 6, 4\] and \[3, 5\]"):
        LSTM(5).init(
            jax.random.key(0), INPUTS, jnp.zeros((3, 5), bool), LSTM(5).initial_carry((3,))
        )

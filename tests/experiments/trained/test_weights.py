"""Weights out and in: copies, files, and errors that name what differs."""

import jax
import numpy as np
import optax
import pytest
from flax import serialization

from jax_agents import agents, networks
from jax_agents.envs import classic
from jax_agents.experiments.trained.weights import (
    WeightsError,
    export_weights,
    get_weights,
    import_weights,
    read_weights,
    set_weights,
)


@pytest.fixture(scope="module")
def states():
    """Two states of the same agent."""
    agent = agents.DqnAgent(
        classic.CartPole().specs, networks.QNetwork(2, hidden=(3,)), optax.adam(1e-3)
    )
    return agent.init(jax.random.key(0)), agent.init(jax.random.key(1))


def equal(one, two):
    jax.tree.map(np.testing.assert_array_equal, one, two)


def test_weights_are_numpy_copies(states):
    weights = get_weights(states[0])
    assert list(weights) == ["q"] and isinstance(
        weights["q"]["params"]["Dense_0"]["bias"], np.ndarray
    )
    weights["q"]["params"]["Dense_0"]["bias"][:] = 7.0
    assert not (np.asarray(states[0].params["q"]["params"]["Dense_0"]["bias"]) == 7).any()


def test_set_replaces_parameters_and_targets_alone(states):
    one, two = states
    changed = set_weights(one, get_weights(two))
    equal(changed.params, two.params)
    equal(changed.target_params, two.params)
    equal(changed.opt_state, one.opt_state)
    assert changed.key == one.key and changed.step == one.step
    target, param = (
        changed.target_params["q"]["params"]["Dense_0"]["bias"],
        changed.params["q"]["params"]["Dense_0"]["bias"],
    )
    # so that the state can be donated
    assert target.unsafe_buffer_pointer() != param.unsafe_buffer_pointer()


@pytest.mark.parametrize("kind", ["tree", "flat", "npz", "msgpack"])
def test_weights_from_outside(states, kind, tmp_path):
    one, two = states
    source = get_weights(two)
    if kind == "flat":
        source = dict(np.load(export_weights(two, tmp_path / "weights.npz")))
    elif kind == "npz":
        source = export_weights(two, tmp_path / "weights.npz")
    elif kind == "msgpack":
        source = tmp_path / "weights.msgpack"
        source.write_bytes(serialization.msgpack_serialize(get_weights(two)))
    equal(import_weights(one, source).params, two.params)


def test_every_leaf_that_differs_is_named_with_the_nearest(states):
    weights = get_weights(states[0])
    layers = weights["q"]["params"]
    layers["MLP_0"]["Dense_0"]["kernel"] = np.zeros((4, 5), np.float32)
    layers["Dense_0"]["biass"] = layers["Dense_0"].pop("bias")
    layers["Dense_0"]["kernel"] = np.full((3, 2), np.nan)
    with pytest.raises(WeightsError) as caught:
        set_weights(states[0], weights)
    told = str(caught.value).splitlines()
    assert told[0] == "weights: 4 of 4 leaves do not fit:"
    assert told[1:] == [
        "q/params/Dense_0/bias: expected float32[2], got nothing; the nearest is "
        "q/params/Dense_0/biass",
        "q/params/Dense_0/kernel: expected float32[3, 2], got what are not all finite numbers, "
        "float64",
        "q/params/MLP_0/Dense_0/kernel: expected float32[4, 3], got float32[4, 5]",
        "q/params/Dense_0/biass: not expected; the nearest is q/params/Dense_0/bias",
    ]


def test_other_dtypes_are_cast(states):
    weights = jax.tree.map(lambda x: x.astype(np.float64), get_weights(states[1]))
    assert {leaf.dtype for leaf in jax.tree.leaves(set_weights(states[0], weights).params)} == {
        np.dtype(np.float32)
    }


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("weights.h5", b"", "expected a .npz or .msgpack file"),
        ("weights.npz", b"no archive", "cannot be read"),
        ("weights.msgpack", b"\xc1", "cannot be read"),
    ],
)
def test_files_that_cannot_be_read(states, tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=told):
        import_weights(states[0], tmp_path / name)
    with pytest.raises(FileNotFoundError):
        import_weights(states[0], tmp_path / "none.npz")


def test_nothing_is_unpickled(states, tmp_path):
    np.savez(tmp_path / "evil.npz", x=np.array([object()], dtype=object))
    with pytest.raises(WeightsError, match="pickle"):
        read_weights(tmp_path / "evil.npz")
    with pytest.raises(ValueError, match=r"ends in \.npz"):
        export_weights(states[0], tmp_path / "weights.h5")

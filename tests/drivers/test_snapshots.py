"""Snapshots of parameters: what they hold, and that reading one runs nothing."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import agents, envs, networks
from jax_agents.drivers import ParameterServer, snapshots
from jax_agents.drivers.parameter_server import to_host
from jax_agents.envs import classic
from jax_agents.networks.normalizer import RunningStatistics


def policy_params(agent):
    return agent.policy_params(jax.jit(agent.init)(jax.random.key(0)))


def ppo(specs, **options):
    network = networks.ActorValueNetwork(
        networks.ActorNetwork(specs.action, (4,)), networks.ValueNetwork((4,))
    )
    return agents.PpoAgent(specs, network, optax.adam(1e-3), **options)


TREES = {
    "none": lambda: None,
    "one array": lambda: np.arange(6, dtype=np.int64).reshape(2, 3),
    "nested": lambda: {"a": [np.float32(1), (np.zeros((0, 3)), None)], "b": {}, "c": ()},
    "dtypes": lambda: {
        str(kind): np.ones((2,), kind)
        for kind in (np.bool_, np.uint8, np.int32, np.uint64, np.float16, np.float64, jnp.bfloat16)
    },
    "DQN's": lambda: policy_params(
        agents.DqnAgent(
            classic.CartPole().specs, networks.QNetwork(2, hidden=(4,)), optax.adam(1e-3)
        )
    ),
    "PPO's": lambda: policy_params(ppo(classic.CartPole().specs)),
    "PPO's with a normaliser": lambda: policy_params(
        ppo(classic.CartPole().specs, normalize_observations=True)
    ),
}


@pytest.mark.parametrize("name", TREES)
def test_a_tree_comes_back_as_it_was(tmp_path, name):
    tree = to_host(TREES[name]())
    snapshots.write(tmp_path / "snapshot", 7, tree)
    version, back = snapshots.read(tmp_path / "snapshot")
    assert version == 7 and jax.tree.structure(back) == jax.tree.structure(tree)
    for left, right in zip(jax.tree.leaves(back), jax.tree.leaves(tree), strict=True):
        assert (left.dtype, left.shape) == (right.dtype, right.shape)
        np.testing.assert_array_equal(left, right)


def test_a_normaliser_survives_the_server(tmp_path):
    server = ParameterServer(tmp_path / "snapshot")
    server.push(1, TREES["PPO's with a normaliser"]())
    state = ParameterServer(tmp_path / "snapshot").pull_if_newer()[1]["observation_statistics"]
    assert isinstance(state, RunningStatistics)


def test_other_nodes_are_refused_by_name(tmp_path):
    step = envs.time_step.restart(np.zeros(2))
    with pytest.raises(TypeError, match=r"parameters/a/1: .* got TimeStep; .*leave out the path"):
        snapshots.write(tmp_path / "snapshot", 0, {"a": [None, step]})
    assert not list(tmp_path.iterdir())


class Trap:
    """Runs code where it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))


def damaged(path, kind):
    snapshots.write(path, 1, {"w": np.zeros(100)})
    if kind == "a pickle":
        path.write_bytes(pickle.dumps((1, Trap())))
    elif kind == "an archive with a pickle":
        np.savez(path.with_suffix(".npz"), meta=np.array([Trap()], object))
        path.with_suffix(".npz").rename(path)
    elif kind == "one array":
        with open(path, "wb") as file:
            np.save(file, np.zeros(3))
    elif kind == "half a file":
        path.write_bytes(path.read_bytes()[:300])
    elif kind == "another archive":
        np.savez(path.with_suffix(".npz"), x=np.zeros(3))
        path.with_suffix(".npz").rename(path)
    elif kind == "nothing":
        path.write_bytes(b"")


@pytest.mark.parametrize(
    "kind",
    [
        "a pickle",
        "an archive with a pickle",
        "one array",
        "half a file",
        "another archive",
        "nothing",
    ],
)
def test_what_is_no_snapshot_is_refused_in_a_line_and_not_opened(tmp_path, kind):
    damaged(tmp_path / "snapshot", kind)
    with pytest.raises(ValueError, match=r"snapshot is no snapshot that can be read .*; delete it"):
        ParameterServer(tmp_path / "snapshot")

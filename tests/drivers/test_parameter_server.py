"""The parameter server in this process; as an actor it is tested with drivers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.drivers import ParameterServer
from jax_agents.drivers.parameter_server import to_host


def params(number):
    return {"params": {"w": jnp.full((2, 3), number, jnp.float32)}, "step": jnp.int32(number)}


def test_only_what_is_newer_is_given():
    server = ParameterServer()
    assert server.pull_if_newer() is None
    assert server.push(3, params(3)) and not server.push(3, params(4))
    version, pulled = server.pull_if_newer(-1)
    assert (
        version == 3 and pulled["params"]["w"].tolist() == [[3.0] * 3] * 2 and pulled["step"] == 3
    )
    assert server.pull_if_newer(3) is None and server.pull_if_newer(2)[0] == 3
    with pytest.raises(ValueError, match="version 2 is older than 3"):
        server.push(2, params(2))
    with pytest.raises(ValueError, match="version -1"):
        ParameterServer().push(-1, params(2))


def test_what_is_published_is_a_copy_that_donation_does_not_touch():
    server = ParameterServer()
    state = params(1)
    server.push(0, state)
    jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)(state)
    pulled = server.pull_if_newer()[1]
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(pulled))
    assert pulled["params"]["w"].max() == 1.0


def test_a_snapshot_is_restored_and_a_learner_may_resume_from_before_it(tmp_path):
    path = tmp_path / "folder" / "snapshot"
    server = ParameterServer(path, save_seconds=1000.0)
    server.push(5, params(5))
    server.push(6, params(6))  # within save_seconds: not written yet
    assert ParameterServer(path).version == 5
    server.close()
    again = ParameterServer(path)
    assert again.version == 6 and again.pull_if_newer()[1]["step"] == 6
    assert [file.name for file in path.parent.iterdir()] == ["snapshot"]
    assert again.push(4, params(4)) and again.version == 4
    with pytest.raises(ValueError, match="version 3 is older than 4"):
        again.push(3, params(3))


def test_a_snapshot_that_cannot_be_written_leaves_the_last_one(tmp_path, monkeypatch):
    path = tmp_path / "snapshot"
    server = ParameterServer(path, save_seconds=0.0)
    server.push(1, params(1))

    def full(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    with pytest.raises(OSError, match="no space"):
        server.push(2, params(2))
    assert ParameterServer(path).version == 1
    assert [file.name for file in tmp_path.iterdir()] == ["snapshot"]
    with pytest.raises(ValueError, match="pass path"):
        ParameterServer().save()


def test_random_keys_are_refused_by_name():
    with pytest.raises(TypeError, match=r"parameters\['noise'\].*key_data"):
        to_host({"noise": jax.random.key(0)})

"""A parameter server in a Ray actor, and the choice of one that actors can reach."""

import pickle
import time

import numpy as np
import pytest

from jax_agents.drivers import ParameterServer, RemoteParameterServer
from jax_agents.drivers.remote_parameter_server import reachable_server


def test_without_actors_a_server_in_this_process_will_do():
    server = ParameterServer()
    assert reachable_server(server, 0) is server
    assert isinstance(reachable_server(None, 0), ParameterServer)
    with pytest.raises(ValueError, match=r"actors cannot reach .* use RemoteParameterServer"):
        reachable_server(server, 2)


def pulled(server, have):
    """Pulls until there is an answer: on a busy machine some pulls are late, which gives None."""
    for _ in range(12):
        if (found := server.pull_if_newer(have)) is not None:
            return found
    raise AssertionError(f"nothing newer than {have}, {server.num_unreachable} pulls were late")


def test_what_is_pushed_is_pulled_by_copies_that_have_pushed_nothing(ray_on_this_machine):
    server = RemoteParameterServer()
    try:
        assert reachable_server(server, 2) is server
        copy = pickle.loads(pickle.dumps(server))
        assert copy.pull_if_newer() is None and copy.version == -1
        for version, size in ((0, 3), (1, 100_000)):  # in the answer, and in the object store
            assert server.push(version, {"w": np.full(size, version, np.float32)})
            got_version, got = pulled(copy, version - 1)
            assert got_version == version and got["w"].shape == (size,)
            assert (got["w"] == version).all() and copy.pull_if_newer(version) is None
        assert not server.push(1, {}) and server.version == 1
        with pytest.raises(ValueError, match="version 0 is older than 1"):
            server.push(0, {})
    finally:
        server.close()
    before = copy.num_unreachable  # the first pull may have been before the actor had started
    end = time.monotonic() + 20.0  # Ray ends an actor a little after it was asked to
    while copy.pull_if_newer() is not None and time.monotonic() < end:
        time.sleep(0.1)
    assert copy.pull_if_newer() is None and copy.num_unreachable >= before + 1

"""Two clients of one table with different specs: the second is refused before its first row.

Each pair of clients is tried at a server that was started alone, and at one that a buffer started.
"""

import numpy as np
import pytest

from jax_agents import replay
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs, trajectory_spec
from jax_agents.envs.types import Trajectory
from jax_agents.replay.remote import RemoteReplay

pytestmark = pytest.mark.skipif(not replay.has_reverb(), reason="Reverb is not installed")


def spec(shape=(4,), dtype=np.float32):
    return trajectory_spec(EnvironmentSpecs(ArraySpec(shape, dtype), DiscreteSpec(2)))


RIGHT = spec()
# Another size, and others of as many bytes, which look alike to Reverb.
WRONG = {
    "size": (spec((3,)), r"observation: float32\[3\]"),
    "dtype": (spec(dtype=np.int32), r"observation: int32\[4\]"),
    "shape": (spec((2, 2)), r"observation: float32\[2,2\]"),
}
CLIENTS = {
    "remote": lambda spec, address: RemoteReplay(spec, address, timeout=10.0),
    "reverb": lambda spec, address: replay.ReverbReplay(
        spec, address=address, capacity=1000, timeout=10.0
    ),
}


def row(number):
    one = np.float32(1)
    observation = np.full(4, number, np.float32)
    return Trajectory(
        np.int32(1), observation, np.int32(0), (), np.int32(1), np.float32(number), one
    )


@pytest.fixture(params=["alone", "in a buffer"])
def address(request):
    from jax_agents.replay.reverb.server import ReplayServer, TableDescription

    if request.param == "alone":
        server = ReplayServer([TableDescription(capacity=1000)])
        yield server.address
        server.stop()
    else:
        server = replay.ReverbReplay(RIGHT, capacity=1000)
        yield server.address
        server.close()


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("second", CLIENTS)
@pytest.mark.parametrize("first", CLIENTS)
def test_the_second_client_of_another_spec_is_refused_and_the_first_goes_on(
    address, first, second, case
):
    """The first one learns: it is there before any row, and no wrong row ever reaches it."""
    learner = CLIENTS[first](RIGHT, address)
    wrong, words = WRONG[case]
    expected = (
        rf"table 'experience' at .* holds other rows .*observation: float32\[4\], got {words}"
    )
    with pytest.raises(ValueError, match=expected):
        CLIENTS[second](wrong, address)
    writer = CLIENTS[second](RIGHT, address)  # of the right spec it may write
    for number in range(20):
        writer.add(row(number))
    writer.flush()
    experience, _ = next(learner.as_dataset(8))
    np.testing.assert_array_equal(experience.observation[..., 0], experience.reward)
    writer.close()
    learner.close()


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_learner_of_another_spec_than_the_writers_hears_it_at_once(kind):
    from jax_agents.replay.reverb.server import ReplayServer, TableDescription

    server = ReplayServer([TableDescription(capacity=1000)])
    writer = CLIENTS["remote"](RIGHT, server.address)
    for number in range(20):
        writer.add(row(number))
    writer.flush()
    with pytest.raises(ValueError, match=r"the table has observation: float32\[4\], got"):
        CLIENTS[kind](WRONG["dtype"][0], server.address)
    assert server.sizes() == {"experience": 19}  # the small table is nobody's business
    writer.close()
    server.stop()


def test_windows_of_another_length_are_refused():
    from jax_agents.replay.reverb.server import ReplayServer, TableDescription

    server = ReplayServer([TableDescription()])
    first = RemoteReplay(RIGHT, server.address)
    with pytest.raises(ValueError, match="sequence_length: the table has 2, got 3"):
        RemoteReplay(RIGHT, server.address, sequence_length=3)
    first.close()
    server.stop()


def test_what_the_rows_are_survives_a_restart(tmp_path):
    from jax_agents.replay.reverb.server import ReplayServer, TableDescription

    tables = [TableDescription(capacity=1000)]
    server = ReplayServer(tables, checkpoint_dir=tmp_path)
    writer = RemoteReplay(RIGHT, server.address)
    for number in range(20):
        writer.add(row(number))
    writer.flush()
    server.checkpoint()
    writer.close()
    server.stop()
    server = ReplayServer(tables, checkpoint_dir=tmp_path)
    with pytest.raises(ValueError, match="holds other rows"):
        RemoteReplay(WRONG["dtype"][0], server.address)
    again = RemoteReplay(RIGHT, server.address)
    assert len(again) == 20
    again.close()
    server.stop()


def test_two_that_are_first_at_a_time_agree_on_the_older_entry(monkeypatch):
    """Both have seen an empty table, and both write into it."""
    from jax_agents.replay.remote import ReverbClient
    from jax_agents.replay.reverb.server import ReplayServer, TableDescription

    server = ReplayServer([TableDescription()])
    first = RemoteReplay(RIGHT, server.address)
    found = ReverbClient.server_info

    def empty(self, timeout=None):
        return {name: info._replace(current_size=0) for name, info in found(self, timeout).items()}

    with monkeypatch.context() as patched:
        patched.setattr(ReverbClient, "server_info", empty)
        with pytest.raises(ValueError, match="holds other rows"):
            RemoteReplay(WRONG["size"][0], server.address)
        RemoteReplay(RIGHT, server.address).close()
    first.close()
    server.stop()


def test_a_queue_is_one_specs_too():
    queue = replay.ReverbQueue(RIGHT, num_rows=4)
    with pytest.raises(ValueError, match=r"table 'on_policy' .* got observation: int32\[4\]"):
        replay.ReverbQueue(WRONG["dtype"][0], num_rows=4, address=queue.address)
    replay.ReverbQueue(RIGHT, num_rows=4, address=queue.address).close()
    queue.close()

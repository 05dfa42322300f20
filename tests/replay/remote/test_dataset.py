"""Batches of several servers' items, from samplers that are played."""

import types

import numpy as np
import pytest

from jax_agents.envs.types import SampleInfo
from jax_agents.replay.packing import RowLayout
from jax_agents.replay.remote import dataset as remote_dataset
from jax_agents.replay.remote.samples import Column, Item


class Sampler:
    """Gives items whose rows hold the number of their server."""

    def __init__(self, connection, table):
        self.server = connection
        self.taken = []
        self.closed = False

    def take(self, num, *, ahead, timeout):
        if self.closed:
            raise StopIteration
        self.taken.append((num, ahead))
        row = np.full((2, 36), self.server, np.uint8)
        column = Column(np.dtype(np.uint8), (36,), 2, False, [row.tobytes()])
        probability = self.server.weight / self.server.mass
        info = SampleInfo(7, probability, self.server.items, self.server.priority, 1)
        return [Item(info, [column])] * num

    def close(self):
        self.closed = True


class Server(int):
    """A server of `items` items, each of this priority and sum of all."""

    items, priority, weight, mass = 10, 1.0, 1.0, 10.0


@pytest.fixture
def make(spec, monkeypatch):
    monkeypatch.setattr(remote_dataset, "Sampler", Sampler)

    def make(servers, *, exponent=None, batch_size=64, prefetch=2):
        layout = RowLayout(spec)
        replay = types.SimpleNamespace(
            layout=layout,
            columns=layout.columns,
            generation=0,
            timeout=1.0,
            table="t",
            priority_exponent=exponent,
            sizes=lambda: np.array([server.items for server in servers]),
            wait_for_items=lambda deadline: 1,
            check_reader=lambda: None,
        )
        return replay, remote_dataset.RemoteDataset(replay, servers, batch_size, prefetch, None)

    return make


def test_a_batch_of_one_server(make):
    _, samples = make([Server(3)], batch_size=4)
    experience, info = next(samples)
    assert experience.action.shape == (4, 2) and info.key.dtype == np.uint64
    assert experience.action.view(np.uint8).tolist()[0][0] == 3
    assert samples._samplers[0].taken == [(4, 8)]
    np.testing.assert_allclose(info.probability, 0.1)


def test_servers_give_as_much_as_they_hold(make):
    small, large = Server(1), Server(2)
    large.items, large.mass = 30, 30.0
    _, samples = make([small, large], prefetch=0)
    infos = [next(samples).info for _ in range(50)]
    of_small = sum(num for num, _ in samples._samplers[0].taken)
    assert abs(of_small / (50 * 64) - 0.25) < 0.04
    assert all((info.table_size == 40).all() for info in infos)
    np.testing.assert_allclose(infos[0].probability, 1 / 40)


def test_prioritised_servers_give_as_much_mass_as_they_hold(make):
    light, heavy = Server(1), Server(2)
    heavy.priority, heavy.weight, heavy.mass = 3.0, 9.0, 90.0  # 9 times the mass in as many items
    _, samples = make([light, heavy], exponent=2.0, prefetch=0)
    next(samples)  # what the servers hold is learned from the first items
    infos = [next(samples).info for _ in range(50)]
    of_light = sum(num for num, _ in samples._samplers[0].taken[1:])
    assert abs(of_light / (50 * 64) - 0.1) < 0.03
    priorities = infos[-1].priority
    np.testing.assert_allclose(infos[-1].probability, np.where(priorities == 3, 9.0, 1.0) / 100)


def test_a_new_generation_asks_new_samplers(make):
    replay, samples = make([Server(1)])
    next(samples)
    (old,) = samples._samplers
    replay.generation += 1
    next(samples)
    assert old.closed and samples._samplers[0] is not old


def test_one_unbatched_item(make):
    _, samples = make([Server(1)], batch_size=None)
    experience, info = next(samples)
    assert experience.action.shape == (2,) and info.key.shape == ()
    assert samples._samplers[0].taken == [(1, 0)]

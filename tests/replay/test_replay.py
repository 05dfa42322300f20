"""The protocols: a buffer of three members is enough for a loop; the library's have them all."""

import inspect
from typing import Any

import jax
import numpy as np
import optax
import pytest

from jax_agents import agents, envs, learners, networks
from jax_agents.envs.types import Sample, SampleInfo
from jax_agents.replay import FrameStackReplay, HostReplay, RemoteReplay, ReplayBuffer
from jax_agents.replay.replay import is_prioritised


class ListReplay:
    """Windows of two rows of one environment, in a list."""

    priority_exponent = None

    def __init__(self):
        self.rows = []
        self.rng = np.random.default_rng(0)

    def add(self, row):
        self.rows.append(row)

    def as_dataset(self, sample_batch_size=None):
        while True:
            starts = self.rng.integers(len(self.rows) - 1, size=sample_batch_size)
            windows = [jax.tree.map(lambda *x: np.stack(x), *self.rows[i : i + 2]) for i in starts]
            nothing = SampleInfo(*([np.zeros(len(windows))] * 5))
            yield Sample(jax.tree.map(lambda *x: np.stack(x), *windows), nothing)


def test_a_loop_trains_from_a_list():
    env = envs.classic.CartPole()
    agent = agents.DqnAgent(env.specs, networks.QNetwork(2, hidden=(8,)), optax.adam(1e-2))
    buffer = ListReplay()
    loop = learners.OffPolicyLoop(
        agent, envs.HostEnvironment(env), buffer, batch_size=8, key=jax.random.key(0), seed=0
    )
    before = loop.state
    loop.warm_up(20)
    metrics = loop.run(10)
    assert len(buffer.rows) >= 30 and np.isfinite(list(metrics.values())).all()
    changed = jax.tree.map(lambda x, y: bool((x != y).any()), before.params, loop.state.params)
    assert any(jax.tree.leaves(changed))


@pytest.mark.parametrize("buffer", [HostReplay, FrameStackReplay, RemoteReplay])
def test_the_librarys_buffers_have_every_member(buffer):
    members: dict[str, Any] = dict(inspect.getmembers(ReplayBuffer, inspect.isfunction))
    wanted = {name for name in members if not name.startswith("_")} | {"__len__"}
    assert wanted <= set(dir(buffer)) and {"add", "as_dataset", "update_priorities"} <= wanted


def test_prioritised_buffers_are_told_by_their_exponent(spec):
    assert not is_prioritised(ListReplay())
    assert not is_prioritised(HostReplay(spec, capacity=10))
    assert is_prioritised(HostReplay(spec, capacity=10, priority_exponent=0.0))

"""What is particular to the queue on a Reverb server; `test_queue.py` has the rest."""

import itertools

import numpy as np
import pytest

from jax_agents import replay
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs, trajectory_spec
from jax_agents.envs.types import StepType, Trajectory

pytestmark = pytest.mark.skipif(not replay.has_reverb(), reason="Reverb is not installed")
# so large that it has its own column
SPEC = trajectory_spec(EnvironmentSpecs(ArraySpec((2000,), np.uint8), DiscreteSpec(2)))


def rows():
    for i in itertools.count():
        now = StepType.MID if i else StepType.FIRST
        observation = np.full(2000, i, np.uint8)
        yield Trajectory(
            now, observation, np.int32(0), (), StepType.MID, np.float32(i), np.float32(1)
        )


def test_a_writer_at_the_servers_address():
    queue = replay.ReverbQueue(SPEC, num_rows=2, capacity=4, timeout=5.0)
    try:
        writer = replay.ReverbQueue(
            SPEC, num_rows=2, capacity=4, timeout=5.0, address=queue.address
        )
        for row in itertools.islice(rows(), 5):
            writer.add(row)
        assert len(queue) == len(writer) == 2
        batch = next(queue.as_dataset(2))
        assert batch.observation[:, :, 0].tolist() == [
            [0, 1, 2],
            [2, 3, 4],
        ] and batch.reward.tolist() == [[0, 1, 0], [2, 3, 0]]
        with pytest.raises(RuntimeError, match="read in the process that has the server"):
            next(writer.as_dataset(1))
        writer.close()
        with pytest.raises(ValueError, match="sequence_length: the table has 3, got 4"):
            replay.ReverbQueue(SPEC, num_rows=3, capacity=4, address=queue.address)
        with pytest.raises(ValueError, match="has no table 'other'"):
            replay.ReverbQueue(SPEC, num_rows=2, capacity=4, address=queue.address, table="other")
    finally:
        queue.close()
    with pytest.raises(ConnectionError, match="no Reverb server answers"):
        replay.ReverbQueue(SPEC, num_rows=2, address="localhost:1", timeout=1.0)

"""What only the queue in this process does; test_queue.py has what all queues do."""

import threading

import numpy as np
import pytest

from jax_agents.envs.types import StepType
from jax_agents.replay import HostQueue


def test_items_come_in_their_order_without_copies_to_a_server(spec, make_row):
    queue = HostQueue(spec, num_rows=1)
    for number in range(4):
        queue.add(make_row(number))
    assert len(queue) == 3
    batch = next(queue.as_dataset(3))
    assert batch.action[:, 0].tolist() == [0, 1, 2] and batch.action.shape == (3, 2)
    assert len(queue) == 0


def test_a_full_queue_blocks_until_an_item_is_taken(spec, make_row):
    queue = HostQueue(spec, num_rows=1, capacity=1, timeout=20.0)
    queue.add(make_row(0))
    queue.add(make_row(1))
    writer = threading.Thread(target=queue.add, args=(make_row(2),))
    writer.start()
    writer.join(0.2)
    assert writer.is_alive() and len(queue) == 1
    assert queue.take(1)[0].action[0] == 0
    writer.join(10)
    assert not writer.is_alive() and queue.take(1)[0].action[0] == 1


def test_an_item_that_found_no_room_goes_in_first_later(spec, make_row):
    queue = HostQueue(spec, num_rows=1, capacity=1, timeout=0.05)
    queue.add(make_row(0))
    queue.add(make_row(1))
    with pytest.raises(TimeoutError, match=r"to the full queue .*1 of at most 1 items"):
        queue.add(make_row(2))
    assert queue.take(1)[0].action[0] == 0
    queue.bootstrap(make_row(3)._replace(step_type=np.int32(StepType.LAST)))  # continues nothing
    assert queue.take(1)[0].action[0] == 1


def test_close_ends_a_reader_that_waits(spec):
    queue = HostQueue(spec, num_rows=1, timeout=30.0)
    ended = []
    reader = threading.Thread(target=lambda: ended.append(list(queue.as_dataset(1))))
    reader.start()
    queue.close()
    reader.join(10)
    assert ended == [[]]

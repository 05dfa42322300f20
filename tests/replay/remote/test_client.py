"""The client beside Reverb's own: what one writes, the other reads back equal."""

import time

import ml_dtypes
import numpy as np
import pytest

from jax_agents.replay import has_reverb
from jax_agents.replay.remote import ReverbClient

pytestmark = pytest.mark.skipif(not has_reverb(), reason="Reverb is not installed")
DTYPES = [
    np.uint8,
    np.int32,
    np.int64,
    np.uint64,
    np.float32,
    np.float64,
    np.bool_,
    ml_dtypes.bfloat16,
]


def start(max_size=1000, sampler=None, limiter=None, port=None, **options):
    import reverb

    table = reverb.Table(
        "t",
        sampler or reverb.selectors.Uniform(),
        reverb.selectors.Fifo(),
        max_size,
        limiter or reverb.rate_limiters.MinSize(1),
        **options,
    )
    return reverb.Server([table], port=port)


@pytest.fixture
def served():
    server = start()
    client = ReverbClient(f"localhost:{server.port}", timeout=5.0)
    yield server, client
    client.close()
    server.stop()


def rows_of(dtypes, num, shape=(2, 3)):
    rng = np.random.default_rng(0)
    return [
        [(rng.normal(size=shape) * 100).astype(np.int64).astype(dtype) for dtype in dtypes]
        for _ in range(num)
    ]


def official(server, dtypes, shapes, num):
    """So many items as Reverb's own dataset gives them."""
    import reverb
    import tensorflow as tf

    dataset = reverb.TrajectoryDataset(
        f"localhost:{server.port}",
        "t",
        dtypes=[tf.as_dtype(dtype) for dtype in dtypes],
        shapes=[tf.TensorShape(shape) for shape in shapes],
        max_in_flight_samples_per_worker=10,
    )
    return [[x.numpy() for x in sample.data] for sample in dataset.take(num)]


@pytest.mark.parametrize(("chunk_length", "delta"), [(1, False), (4, True), (50, False)])
def test_reverb_reads_what_this_client_writes(served, chunk_length, delta):
    server, client = served
    writer, rows = (
        client.writer(max_rows=6, chunk_length=chunk_length, delta_encoded=delta),
        rows_of(DTYPES, 20),
    )
    for i, row in enumerate(rows):
        writer.append(row)
        if i >= 5:
            writer.create_item("t", 1.0, 6)
    writer.flush()
    assert client.table_info("t").current_size == 15
    seen = set()
    for item in official(server, DTYPES, [(6, 2, 3)] * len(DTYPES), 60):
        (start,) = [
            s
            for s in range(15)
            if np.array_equal(item[5], np.stack([row[5] for row in rows[s : s + 6]]))
        ]
        for k, column in enumerate(item):
            np.testing.assert_array_equal(
                column, np.stack([row[k] for row in rows[start : start + 6]])
            )
        seen.add(start)
    assert len(seen) > 5
    sampler = client.sampler("t")
    for item in sampler.take(30, ahead=30):
        arrays = item.arrays()
        (start,) = [
            s
            for s in range(15)
            if np.array_equal(arrays[5], np.stack([row[5] for row in rows[s : s + 6]]))
        ]
        for k, column in enumerate(arrays):
            assert column.dtype == DTYPES[k]
            np.testing.assert_array_equal(
                column, np.stack([row[k] for row in rows[start : start + 6]])
            )
    sampler.close()


def test_columns_of_different_slices(served):
    server, client = served
    writer = client.writer(max_rows=5, chunk_length=2)
    for t in range(5):
        writer.append([np.float32(t), np.full((3,), t, np.int32)])
    writer.create_item("t", 2.0, [(0, slice(-5, -1)), (1, slice(-3, None)), (0, -1)])
    writer.flush()
    item = client.sampler("t").take(1)[0]
    assert [x.tolist() for x in item.arrays()] == [[0, 1, 2, 3], [[2] * 3, [3] * 3, [4] * 3], 4]
    theirs = official(server, [np.float32, np.int32, np.float32], [(4,), (3, 3), ()], 1)[0]
    assert [x.tolist() for x in theirs] == [x.tolist() for x in item.arrays()]
    for bad in (6, [(0, slice(-1, None, 2))], [(0, slice(1, None))], [(2, -1)]):
        with pytest.raises(ValueError, match="rows"):
            writer.create_item("t", 1.0, bad)
    with pytest.raises(ValueError, match="finite"):
        writer.create_item("t", float("inf"), 1)
    with pytest.raises(ValueError, match="rows before"):
        writer.append([np.float64(0), np.zeros(3, np.int32)])


@pytest.mark.parametrize("delta", [False, True])
def test_this_client_reads_what_reverb_writes(served, delta):
    import reverb

    server, client = served
    rows = rows_of([np.int32, np.uint8, np.float32, np.bool_], 40, (30, 20))
    with reverb.Client(f"localhost:{server.port}").writer(
        40, chunk_length=7, delta_encoded=delta
    ) as writer:
        for row in rows:
            writer.append(row)
        writer.create_item("t", 40, 1.5)
    item = client.sampler("t").take(1)[0]
    assert item.info.priority == 1.5
    for k, column in enumerate(item.arrays()):
        np.testing.assert_array_equal(column, np.stack([row[k] for row in rows]))


def test_priorities_deletes_resets_and_keys_of_64_bits():
    import reverb

    server = start(sampler=reverb.selectors.Prioritized(1.0))
    client = ReverbClient(f"localhost:{server.port}", timeout=5.0)
    writer = client.writer(max_rows=1, chunk_length=1)
    keys = []
    for t in range(8):
        writer.append([np.float32(t)])
        keys.append(writer.create_item("t", 1.0, 1))
    writer.flush()
    assert max(keys) > 2**62
    client.update_priorities("t", dict.fromkeys(keys, 0.0) | {keys[3]: 2.0, 12345: 1.0})
    items = client.sampler("t").take(10)
    assert {(item.info.key, item.info.priority, item.info.probability) for item in items} == {
        (keys[3], 2.0, 1.0)
    }
    client.delete("t", keys[:6])
    assert client.table_info("t").current_size == 2
    client.reset("t")
    info = client.table_info("t")
    assert (info.current_size, info.sampler, info.priority_exponent) == (0, "prioritized", 1.0)
    with pytest.raises(ValueError, match=r"no table 'other', only \['t'\]"):
        client.table_info("other")
    with pytest.raises(ValueError, match="other"):
        client.reset("other")
    client.close()
    server.stop()


def test_a_queue_blocks_its_writer_within_the_time_and_loses_nothing():
    import reverb

    server = start(4, reverb.selectors.Fifo(), reverb.rate_limiters.Queue(4), max_times_sampled=1)
    client = ReverbClient(f"localhost:{server.port}", timeout=0.5)
    writer = client.writer(max_rows=1, chunk_length=1, max_in_flight=6)
    for t in range(10):
        writer.append([np.float32(t)])
        writer.create_item("t", 1.0, 1)
    begin = time.monotonic()
    with pytest.raises(
        TimeoutError, match=r"writing took longer than 0\.3 s: 6 items are not confirmed"
    ):
        writer.flush(timeout=0.3)
    assert time.monotonic() - begin < 3
    writer.append([np.float32(10)])
    writer.create_item("t", 1.0, 1)
    with pytest.raises(TimeoutError, match="7 items are not confirmed"):
        writer.append([np.float32(11)])
    sampler = client.sampler("t")
    with pytest.raises(TimeoutError, match="11 of 12 items came"):
        sampler.take(12, timeout=1.0)
    assert [float(item.arrays()[0][0]) for item in sampler.take(11)] == list(range(11))
    writer.flush()
    client.close()
    server.stop()


def test_a_server_that_comes_back_gets_what_it_had_not_confirmed():
    server = start()
    port = server.port
    client = ReverbClient(f"localhost:{port}", timeout=0.5)
    writer = client.writer(max_rows=2, chunk_length=1)
    for t in range(3):
        writer.append([np.float32(t)])
        writer.create_item("t", 1.0, min(2, t + 1))
    writer.flush()
    server.stop()
    writer.append([np.float32(3)])
    writer.create_item("t", 1.0, 2)
    with pytest.raises(
        ConnectionError, match=rf"no Reverb server answers at localhost:{port}.*replay-server"
    ):
        writer.flush()
    with pytest.raises(ConnectionError, match="is it running"):
        client.server_info()
    with pytest.raises(ConnectionError, match="is it running"):
        client.sampler("t").take(1)
    server = start(port=port)
    writer.flush(timeout=20)
    assert client.table_info("t", timeout=20).current_size == 1
    assert [x.tolist() for x in client.sampler("t").take(1, timeout=20)[0].arrays()] == [[2, 3]]
    client.close()
    server.stop()

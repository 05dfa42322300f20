"""What every replay buffer on the host must do, run on each of them. A new backend is one line in BACKENDS."""

import threading
import time

import jax
import numpy as np
import pytest
from jax_agents.envs.specs import ArraySpec, BoundedSpec, DiscreteSpec, EnvironmentSpecs, SpecError, trajectory_spec
from jax_agents.envs.types import Sample, StepType, Trajectory
from jax_agents.replay import HostReplay, has_reverb
from jax_agents.replay.remote import RemoteReplay

# A leaf of more than a kilobyte has a column of its own, in both layouts.
OBSERVATION = {"camera": BoundedSpec((33, 32), np.uint8, 0, 255), "id": ArraySpec((2,), np.float32)}
SPEC = trajectory_spec(EnvironmentSpecs(OBSERVATION, DiscreteSpec(1_000_000)), {"flag": ArraySpec((), np.bool_)})


def make_host(spec, **config):
    return HostReplay(spec, seed=0, **config)


def make_reverb(spec, **config):
    from jax_agents.replay import ReverbReplay

    return ReverbReplay(spec, **config)


def make_remote(spec, **config):
    """Our own client, on the server of another buffer, which takes what this one refuses."""
    try:
        server = make_reverb(spec, **config)
    except ValueError:
        return RemoteReplay(spec, "localhost:1", **config)
    SERVERS.append(server)
    return RemoteReplay(spec, server.address, **config)


SERVERS = []
NEEDS_REVERB = pytest.mark.skipif(not has_reverb(), reason="Reverb is not installed")
BACKENDS = [
    pytest.param(make_host, id="host"),
    pytest.param(make_reverb, id="reverb", marks=NEEDS_REVERB),
    pytest.param(make_remote, id="remote", marks=NEEDS_REVERB),
]
# A remote buffer's files are its server's.
saves = pytest.mark.parametrize("make", BACKENDS[:2], indirect=True)


@pytest.fixture(params=BACKENDS)
def make(request):
    """A factory of buffers, with 3 s of patience, that are closed at the end."""
    made = []

    def build(spec=SPEC, **config):
        made.append(request.param(spec, **{"capacity": 1000, "timeout": 3.0, **config}))
        return made[-1]

    yield build
    for replay in made + SERVERS:
        replay.close()
    SERVERS.clear()


def make_row(number, step_type=StepType.MID, next_step_type=StepType.MID, stream=0):
    """A row in which every leaf says which row of which stream it is."""
    return Trajectory(
        step_type=np.int32(step_type),
        observation={"camera": np.full((33, 32), number % 251, np.uint8), "id": np.array([number, stream], np.float32)},
        action=np.int32(number),
        policy_info={"flag": np.bool_(number % 3 == 0)},
        next_step_type=np.int32(next_step_type),
        reward=np.float32(number / 8),
        discount=np.float32(number % 2),
    )


def stack(rows):
    return jax.tree.map(lambda *x: np.stack(x), *rows)


def episode_rows(num_rows, episode_length, stream=0, first=0):
    """Rows of episodes of `episode_length` steps, each followed by its boundary row (LAST -> FIRST)."""
    types = ([StepType.FIRST] + [StepType.MID] * (episode_length - 1) + [StepType.LAST]) * (num_rows // episode_length + 2)
    return [make_row(first + i, types[i], types[i + 1], stream) for i in range(num_rows)]


def draw(replay, num_items, batches=30):
    """Samples, after all that was added is visible: exactly `num_items` items."""
    assert not replay.can_sample(replay.capacity + 1)  # asking for more than there is makes Reverb's writers hand over
    assert replay.can_sample(num_items)
    samples = replay.as_dataset(sample_batch_size=64, prefetch=0)
    out = [next(samples) for _ in range(batches)]
    assert set(np.concatenate([s.info.table_size for s in out])) == {num_items}
    return out


def windows(samples):
    """The distinct windows, as tuples of (row, stream), after checking that all leaves of a row belong together."""
    found = set()
    for experience, _ in samples:
        ids = experience.observation["id"]
        number = ids[..., 0].astype(np.int64)
        np.testing.assert_array_equal(experience.action, number)
        np.testing.assert_array_equal(experience.reward, number / 8)
        np.testing.assert_array_equal(experience.discount, number % 2)
        np.testing.assert_array_equal(experience.policy_info["flag"], number % 3 == 0)
        camera = np.broadcast_to((number % 251)[..., None, None], experience.observation["camera"].shape)
        np.testing.assert_array_equal(experience.observation["camera"], camera)
        found |= {tuple(map(tuple, window)) for window in ids.astype(int).tolist()}
    return found


def expected(starts, length, stream=0):
    return {tuple((t, stream) for t in range(start, start + length)) for start in starts}


@pytest.mark.parametrize(("length", "stride"), [(1, 1), (2, 1), (3, 1), (5, 1), (4, 3), (2, 5)])
def test_windows_are_all_those_on_the_stride_grid_and_span_episodes(make, length, stride):
    replay = make(sequence_length=length, stride=stride)
    rows = episode_rows(40, episode_length=6)
    for row in rows:
        replay.add(row)
    starts = range(0, 40 - length + 1, stride)
    samples = draw(replay, len(starts))
    assert windows(samples) == expected(starts, length)
    assert len(replay) == 40
    types = np.array([(r.step_type, r.next_step_type) for r in rows])
    for experience, _ in samples[:3]:
        np.testing.assert_array_equal(experience.step_type, types[experience.action, 0])
        np.testing.assert_array_equal(experience.next_step_type, types[experience.action, 1])


@pytest.mark.parametrize("length", [3, 5])
def test_content_after_many_rows(make, length):
    replay = make(sequence_length=length, capacity=100)
    for row in episode_rows(730, episode_length=17):
        replay.add(row)
    assert windows(draw(replay, 101 - length, batches=40)) == expected(range(630, 731 - length), length)


def test_a_batch_of_environments_is_so_many_streams(make):
    replay = make(sequence_length=3, capacity=300)
    streams = [episode_rows(20, episode_length=3 + i, stream=i) for i in range(4)]
    for rows in zip(*streams, strict=True):
        replay.add(stack(rows))
    assert len(replay) == 80
    assert windows(draw(replay, 4 * 18)) == set().union(*(expected(range(18), 3, i) for i in range(4)))


def test_a_batch_where_one_environment_does_not_continue(make):
    replay = make(sequence_length=2)
    for t in range(6):
        broken = StepType.FIRST if t == 3 else StepType.MID  # stream 1 starts again at row 3
        replay.add(stack([make_row(t), make_row(t, broken, stream=1)]))
    assert windows(draw(replay, 9)) == expected(range(5), 2, 0) | expected([0, 1, 3, 4], 2, 1)


def test_each_writer_is_a_stream(make):
    replay = make(sequence_length=3)
    first, second = replay.writer(), replay.writer()
    for t in range(10):
        replay.add(make_row(t))
        first(make_row(t, stream=1))
        if t % 2:
            second(make_row(t // 2, stream=2))
    want = expected(range(8), 3) | expected(range(8), 3, 1) | expected(range(3), 3, 2)
    assert windows(draw(replay, len(want))) == want


def test_writers_in_threads_while_another_samples(make):
    replay = make(sequence_length=2, capacity=2000)

    def work(stream):
        write = replay.writer()
        for row in episode_rows(150, 10, stream):
            write(row)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    samples = replay.as_dataset(sample_batch_size=16, prefetch=0)
    meanwhile = [next(samples) for _ in range(50)]
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    want = set().union(*(expected(range(149), 2, i) for i in range(4)))
    assert windows(meanwhile) <= want
    assert windows(draw(replay, len(want), batches=150)) == want
    assert len(replay) == 600


def test_a_row_that_does_not_continue_drops_the_open_window(make):
    replay = make(sequence_length=3, stride=2)
    for t in range(6):  # windows at 0 and 2; row 5 would have ended none
        replay.add(make_row(t))
    for t in range(6, 11):  # the grid starts again at 6
        replay.add(make_row(t, StepType.FIRST if t == 6 else StepType.MID))
    assert windows(draw(replay, 4)) == expected([0, 2, 6, 8], 3)


def test_the_oldest_rows_go_first_with_every_window_that_holds_them(make):
    replay = make(sequence_length=3, capacity=10)
    for t in range(37):
        replay.add(make_row(t))
    assert replay.capacity == 10
    assert len(replay) == 10
    assert windows(draw(replay, 8)) == expected(range(27, 35), 3)


def test_uniform_draws_have_equal_frequencies(make):
    replay = make(sequence_length=2)
    for t in range(11):
        replay.add(make_row(t))
    samples = draw(replay, 10, batches=150)
    counts = np.bincount(np.concatenate([s.experience.action[:, 0] for s in samples]), minlength=10)
    assert counts.sum() == 9600
    np.testing.assert_allclose(counts / 9600, 0.1, atol=0.02)  # six standard deviations
    assert all((s.info.probability == 0.1).all() for s in samples)
    assert any(len(set(s.info.key.tolist())) < 64 for s in samples)  # with replacement


def test_the_sample_and_its_info(make):
    replay = make(sequence_length=2)
    for t in range(5):
        replay.add(make_row(t))
    sample = next(replay.as_dataset(sample_batch_size=8, num_steps=2))
    experience, info = sample
    assert isinstance(sample, Sample)
    for leaf, spec in zip(jax.tree.leaves(experience), jax.tree.leaves(SPEC), strict=True):
        assert leaf.shape == (8, 2, *spec.shape)
        assert leaf.dtype == spec.dtype
    assert all(isinstance(x, np.ndarray) and x.shape == (8,) for x in info)
    assert info.key.dtype == np.uint64
    assert len(np.unique(info.key)) == len(np.unique(experience.action[:, 0]))
    assert (info.times_sampled >= 1).all()
    one = next(replay.as_dataset())
    assert one.experience.observation["camera"].shape == (2, 33, 32)
    assert one.experience.action.shape == (2,)
    assert np.shape(one.info.key) == ()
    assert one.info.key.dtype == np.uint64


def test_times_sampled_counts(make):
    replay = make(sequence_length=2)
    replay.add(make_row(0))
    replay.add(make_row(1))
    samples = replay.as_dataset(sample_batch_size=4, prefetch=0)
    seen = [next(samples).info.times_sampled.max() for _ in range(3)]
    assert seen[0] <= seen[1] <= seen[2]
    assert seen[2] >= 9


def test_samples_on_a_device(make):
    replay = make()
    for t in range(5):
        replay.add(make_row(t))
    samples = replay.as_dataset(sample_batch_size=4, device=jax.devices()[0])
    out = [next(samples) for _ in range(4)]
    assert all(isinstance(x, jax.Array) for s in out for x in jax.tree.leaves(s.experience))
    assert all(s.info.key.dtype == np.uint64 and isinstance(s.info.key, np.ndarray) for s in out)
    assert windows(Sample(jax.tree.map(np.asarray, s.experience), s.info) for s in out) <= expected(range(4), 2)


@pytest.mark.parametrize("on_device", [False, True])
def test_batches_are_copies(make, on_device):
    replay = make(capacity=12)
    for t in range(12):
        replay.add(make_row(t))
    device = jax.devices()[0] if on_device else None
    samples = replay.as_dataset(sample_batch_size=64, prefetch=0, device=device)
    batches = [next(samples).experience for _ in range(3)]
    before = jax.tree.map(np.array, batches)
    for t in range(12, 60):  # every slot is written again
        replay.add(make_row(t))
    jax.tree.map(np.testing.assert_array_equal, batches, before)


def test_prioritised_draws_follow_the_priorities(make):
    replay = make(sequence_length=2, priority_exponent=0.5)
    for t in range(5):
        replay.add(make_row(t))
    samples = draw(replay, 4)
    keys = {int(s.experience.action[i, 0]): s.info.key[i] for s in samples for i in range(64)}
    assert all(np.allclose(s.info.priority, samples[0].info.priority[0]) for s in samples)  # new items are alike
    keys = np.array([keys[i] for i in range(4)], np.uint64)
    replay.update_priorities(keys, np.array([0.0, 1.0, 4.0, 9.0]))
    want = np.array([0.0, 1.0, 2.0, 3.0]) / 6
    samples = draw(replay, 4, batches=150)
    first = np.concatenate([s.experience.action[:, 0] for s in samples])
    np.testing.assert_allclose(np.bincount(first, minlength=4) / 9600, want, atol=0.03)
    assert not (first == 0).any()
    np.testing.assert_allclose(np.concatenate([s.info.probability for s in samples]), want[first], rtol=1e-6)
    np.testing.assert_allclose(np.concatenate([s.info.priority for s in samples]), first.astype(float) ** 2, rtol=1e-6)
    np.testing.assert_array_equal(np.concatenate([s.info.key for s in samples]), keys[first])


def test_a_new_item_has_the_highest_priority_so_far(make):
    replay = make(sequence_length=1, priority_exponent=1.0)
    replay.add(make_row(0))
    assert next(replay.as_dataset(prefetch=0)).info.priority == 1.0
    replay.update_priorities([next(replay.as_dataset(prefetch=0)).info.key], [5.0])
    replay.add(make_row(1))
    samples = draw(replay, 2)
    assert {float(p) for s in samples for p in s.info.priority} == {5.0}


def test_priorities_that_are_no_numbers_are_refused(make):
    replay = make(priority_exponent=1.0)
    for t in range(3):
        replay.add(make_row(t))
    key = draw(replay, 2, batches=1)[0].info.key[:2]
    for bad in (np.nan, np.inf, -0.5):
        with pytest.raises(ValueError, match=str(bad)):
            replay.update_priorities(key, [0.25, bad])
    with pytest.raises(ValueError, match="one priority for each key"):
        replay.update_priorities(key, [1.0])
    with pytest.raises(TypeError, match="uint64"):  # what JAX makes of keys
        replay.update_priorities(key.astype(np.uint32), [1.0, 1.0])
    assert {float(p) for s in draw(replay, 2, batches=3) for p in s.info.priority} == {1.0}
    replay.update_priorities(np.array([], np.uint64), [])


def test_a_uniform_buffer_has_no_priorities(make):
    replay = make()
    replay.add(make_row(0))
    with pytest.raises(ValueError, match="priority_exponent"):
        replay.update_priorities(np.zeros(1, np.uint64), [1.0])


def test_stale_keys_are_passed_over(make):
    replay = make(sequence_length=1, capacity=4, priority_exponent=1.0)
    for t in range(4):
        replay.add(make_row(t))
    old = np.unique(np.concatenate([s.info.key for s in draw(replay, 4)]))
    assert len(old) == 4
    for t in range(4, 8):
        replay.add(make_row(t))
    samples = draw(replay, 4)
    new = np.unique(np.concatenate([s.info.key for s in samples]))
    assert not set(old.tolist()) & set(new.tolist())
    replay.update_priorities(np.concatenate([old, new[:1]]), [7.0, 7.0, 7.0, 7.0, 3.0])
    priorities = {int(k): float(p) for s in draw(replay, 4) for k, p in zip(s.info.key, s.info.priority, strict=True)}
    assert priorities == {int(k): 3.0 if k == new[0] else 1.0 for k in new}


def test_a_wrong_row_is_refused_by_name_and_nothing_is_added(make):
    replay = make()
    row = make_row(0)
    with pytest.raises(SpecError, match=r"observation/id: expected float32\[2\], got float32\[3\]"):
        replay.add(row._replace(observation={**row.observation, "id": np.zeros(3, np.float32)}))
    with pytest.raises(SpecError, match=r"action: expected int32.*got int64"):
        replay.add(row._replace(action=np.int64(1)))
    with pytest.raises(SpecError, match=r"observation/camera: missing"):
        replay.add(row._replace(observation={"id": row.observation["id"]}))
    assert len(replay) == 0
    for t in range(3):
        replay.add(make_row(t))
    with pytest.raises(SpecError, match="reward"):
        replay.add(make_row(3)._replace(reward=np.zeros(2, np.float32)))
    replay.add(make_row(3))
    assert windows(draw(replay, 3)) == expected(range(3), 2)


def test_the_number_of_environments_is_fixed(make):
    replay = make()
    replay.add(stack([make_row(0), make_row(0, stream=1)]))
    with pytest.raises(ValueError, match="2"):
        replay.add(stack([make_row(1)] * 3))
    with pytest.raises(ValueError, match="2"):
        replay.add(make_row(1))
    with pytest.raises(SpecError, match="reward"):  # one leaf of another length
        replay.add(stack([make_row(1), make_row(1, stream=1)])._replace(reward=np.zeros(3, np.float32)))
    replay.add(stack([make_row(1), make_row(1, stream=1)]))
    assert windows(draw(replay, 2)) == expected([0], 2) | expected([0], 2, 1)


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"capacity": 0}, "capacity"),
        ({"sequence_length": None}, "sequence_length"),
        ({"sequence_length": 0}, "sequence_length"),
        ({"stride": 0}, "stride"),
        ({"capacity": 4, "sequence_length": 5}, "sequence_length=5"),
        ({"min_size": 2000}, "min_size"),
        ({"priority_exponent": -1.0}, "priority_exponent"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_arguments_that_cannot_be_served(make, config, name):
    with pytest.raises(ValueError, match=name):
        make(**config)


def test_num_steps_must_be_the_sequence_length(make):
    replay = make(sequence_length=3)
    with pytest.raises(ValueError, match=r"num_steps=2.*sequence_length=3"):
        replay.as_dataset(sample_batch_size=4, num_steps=2)
    with pytest.raises(ValueError, match="sample_batch_size"):
        replay.as_dataset(sample_batch_size=0)
    with pytest.raises(ValueError, match="prefetch"):
        replay.as_dataset(sample_batch_size=1, prefetch=-1)


def test_a_wait_that_is_too_long_raises_with_the_state_and_can_be_repeated(make):
    replay = make(timeout=0.4)
    samples = replay.as_dataset(sample_batch_size=2)
    replay.add(make_row(0))
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"0 items.*1 row.*2"):
        next(samples)
    assert 0.3 < time.monotonic() - start < 10
    replay.add(make_row(1))
    assert windows([next(samples)]) == expected([0], 2)


def test_min_size_items_are_waited_for(make):
    replay = make(min_size=5, timeout=0.4)
    for t in range(5):
        replay.add(make_row(t))
    assert not replay.can_sample()
    with pytest.raises(TimeoutError, match=r"4 items.*\b5\b"):
        next(replay.as_dataset(sample_batch_size=2))
    replay.add(make_row(5))
    assert replay.can_sample()
    assert replay.can_sample(5)
    assert not replay.can_sample(6)
    next(replay.as_dataset(sample_batch_size=2))


def test_next_waits_for_another_thread(make):
    replay = make(timeout=20.0)
    result = []
    reader = threading.Thread(target=lambda: result.append(next(replay.as_dataset(sample_batch_size=2))))
    reader.start()
    time.sleep(0.2)
    assert not result
    for t in range(2):
        replay.add(make_row(t))
    reader.join(15)
    assert windows(result) == expected([0], 2)


def test_close_ends_a_blocked_reader_at_once(make):
    replay = make(timeout=60.0)
    replay.add(make_row(0))
    done = []
    samples = replay.as_dataset(sample_batch_size=2)

    def read():
        for _ in samples:
            raise AssertionError("there is nothing to sample")
        done.append(True)

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.3)
    start = time.monotonic()
    replay.close()
    replay.close()
    reader.join(10)
    assert time.monotonic() - start < 2
    assert done
    with pytest.raises(StopIteration):
        next(samples)
    with pytest.raises(StopIteration):
        next(replay.as_dataset())
    with pytest.raises(RuntimeError, match="closed"):
        replay.add(make_row(1))


@saves
def test_save_and_load(make, tmp_path):
    config = {"sequence_length": 3, "capacity": 30, "priority_exponent": 1.0}
    replay = make(**config)
    for row in episode_rows(50, episode_length=7):
        replay.add(row)
    info = draw(replay, 28, batches=40)
    keys = np.concatenate([s.info.key for s in info])
    first = np.concatenate([s.experience.action[:, 0] for s in info])
    chosen = first == 33
    replay.update_priorities(keys[chosen], np.full(chosen.sum(), 6.0))

    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "0_params.msgpack").write_bytes(
        b"mine"
    )  # sorts before a date, "zzz" after: Reverb's own checkpointer deletes both
    (folder / "zzz").mkdir()
    (folder / "zzz" / "file").write_text("mine too")
    for _ in range(2):
        replay.save(folder)
        assert (folder / "0_params.msgpack").read_bytes() == b"mine"
        assert (folder / "zzz" / "file").read_text() == "mine too"

    restored = make(**config)
    restored.load(folder)
    assert len(restored) == 30
    assert restored.can_sample(28)
    samples = draw(restored, 28, batches=60)
    assert windows(samples) == expected(range(20, 48), 3)
    for s in samples:
        np.testing.assert_allclose(s.info.priority, np.where(s.experience.action[:, 0] == 33, 6.0, 1.0))
        np.testing.assert_allclose(s.info.probability, s.info.priority / 33, rtol=1e-6)
    for row in episode_rows(10, episode_length=7, first=100):  # goes on: new rows, and old ones leave
        restored.add(row)
    assert windows(draw(restored, restored_items(restored), batches=60)) >= expected(range(100, 108), 3)
    assert (folder / "0_params.msgpack").read_bytes() == b"mine"


def restored_items(replay):
    """How many items there are."""
    items = 0
    while replay.can_sample(items + 1):
        items += 1
    return items


@saves
def test_load_replaces_what_was_there(make, tmp_path):
    replay = make()
    for t in range(5):
        replay.add(make_row(t))
    replay.save(tmp_path / "saved")
    for t in range(5, 9):
        replay.add(make_row(t))
    samples = replay.as_dataset(sample_batch_size=8, prefetch=0)
    next(samples)
    replay.load(tmp_path / "saved")
    assert len(replay) == 5
    assert windows(draw(replay, 4)) == expected(range(4), 2)
    assert windows(next(samples) for _ in range(10)) <= expected(range(4), 2)


@saves
def test_load_errors_are_clear_and_lose_nothing(make, tmp_path):
    replay = make()
    for t in range(5):
        replay.add(make_row(t))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        replay.load(tmp_path / "nowhere")
    replay.save(tmp_path / "saved")
    for path in [p for p in (tmp_path / "saved").rglob("*") if p.is_file()]:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="saved"):
        replay.load(tmp_path / "saved")
    assert windows(draw(replay, 4)) == expected(range(4), 2)


def test_clear(make):
    replay = make(priority_exponent=1.0)
    for t in range(5):
        replay.add(make_row(t))
    keys = draw(replay, 4, batches=1)[0].info.key
    replay.clear()
    assert len(replay) == 0
    assert not replay.can_sample()
    replay.add(make_row(5))
    assert not replay.can_sample()  # the row before it is gone
    replay.add(make_row(6))
    replay.update_priorities(keys, np.full(len(keys), 9.0))
    samples = draw(replay, 1)
    assert windows(samples) == expected([5], 2)
    assert {float(p) for s in samples for p in s.info.priority} == {1.0}

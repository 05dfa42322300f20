"""Samples of buffers that store frames once equal those of buffers that store whole stacks."""

import jax
import numpy as np
import pytest

from jax_agents.envs.specs import (
    ArraySpec,
    BoundedSpec,
    DiscreteSpec,
    EnvironmentSpecs,
    SpecError,
    trajectory_spec,
)
from jax_agents.envs.types import StepType, Trajectory
from jax_agents.replay import FrameStackReplay, HostReplay, has_reverb

SIDE, STACK, T = 6, 4, 3
OBSERVATION = {
    "camera": BoundedSpec((SIDE, SIDE, STACK), np.uint8, 0, 255),
    "speed": ArraySpec((2,), np.float32),
}
SPEC = trajectory_spec(EnvironmentSpecs(OBSERVATION, DiscreteSpec(1_000_000)))


def make_host(spec, length, **config):
    return HostReplay(spec, sequence_length=length, seed=0, **config)


def make_reverb(spec, length, **config):
    from jax_agents.replay import ReverbReplay

    return ReverbReplay(spec, sequence_length=length, **config)


BACKENDS = [
    pytest.param(make_host, id="host"),
    pytest.param(
        make_reverb,
        id="reverb",
        marks=pytest.mark.skipif(not has_reverb(), reason="Reverb is not installed"),
    ),
]


@pytest.fixture(params=BACKENDS)
def make(request):
    """A factory of pairs: a buffer of frames, and one of the same backend with whole stacks."""
    made = []

    def build(capacity=500, streams=1, length=T, spec=SPEC, **config):
        config = {"timeout": 3.0, **config}
        # The same windows, and the rows that lend them frames: Reverb counts its items as those of
        # one stream.
        kept = capacity + (STACK - 1) * (streams if request.param is make_host else 1)
        frames = FrameStackReplay(
            spec,
            lambda stored, n: request.param(stored, n, capacity=kept, **config),
            sequence_length=length,
            stack_size=STACK,
        )
        plain = request.param(spec, length, capacity=capacity, **config)
        made.extend([frames, plain])
        return frames, plain

    yield build
    for replay in made:
        replay.close()


def stream_rows(lengths, stream=0, start=0, colours=1):
    """Rows of episodes of these lengths, with their boundary rows; actions count from `start`."""
    rng = np.random.default_rng([stream, start])
    rows, stack = [], np.zeros((SIDE, SIDE, STACK * colours), np.uint8)
    for length in lengths:
        types = [StepType.FIRST, *[StepType.MID] * (length - 1), StepType.LAST, StepType.FIRST]
        for i in range(length + 1):
            frame = rng.integers(0, 256, (SIDE, SIDE, colours), np.uint8)
            stack = np.concatenate(
                [frame] * STACK if i == 0 else [stack[..., colours:], frame], axis=-1
            )
            number = start + len(rows)
            rows.append(
                Trajectory(
                    step_type=np.int32(types[i]),
                    observation={"camera": stack, "speed": np.array([number, stream], np.float32)},
                    action=np.int32(number),
                    policy_info=(),
                    next_step_type=np.int32(types[i + 1]),
                    reward=np.float32(number / 8),
                    discount=np.float32(i != length - 1),
                )
            )
    return rows


def together(rows):
    return jax.tree.map(lambda *x: np.stack(x), *rows)


def windows(replay, batches=30):
    """The distinct windows drawn, as bytes of all their leaves, by their first row and stream."""
    replay.can_sample(replay.capacity + 1)  # makes Reverb's writers hand over
    found = {}
    samples = replay.as_dataset(sample_batch_size=64, prefetch=0)
    for _ in range(batches):
        rows, info = next(samples)
        assert rows.observation["camera"].shape == (64, replay.sequence_length, SIDE, SIDE, STACK)
        for i in range(64):
            window = jax.tree.map(lambda x, i=i: np.asarray(x[i]), rows)
            first = tuple(window.observation["speed"][0].astype(int).tolist())
            found[first] = b"".join(x.tobytes() for x in jax.tree.leaves(window))
    return found, int(info.table_size[0])


def check_equal(frames, plain, count):
    got, size = windows(frames)
    want, plain_size = windows(plain)
    assert size == plain_size == count == len(want)
    assert got == want


def test_short_episodes_and_a_stride(make):
    frames, plain = make(stride=2)
    for row in stream_rows([1, 2, 5, 1, 1, 3, 7]):
        frames.add(row)
        plain.add(row)
    check_equal(frames, plain, (27 - T) // 2 + 1)


def test_several_environments_and_a_ring_that_wraps_around(make):
    frames, plain = make(capacity=50, streams=3)
    everything = make_host(SPEC, T, capacity=500)
    lengths = ([4, 1, 9, 20, 6], [2] * 15, [41, 3])
    for rows in zip(*(stream_rows(n, i) for i, n in enumerate(lengths)), strict=False):
        for replay in (frames, plain, everything):
            replay.add(together(rows))
    got, size = windows(frames)
    want, plain_size = windows(plain)
    assert size == plain_size == len(got)
    assert got.items() <= windows(everything, batches=60)[0].items()
    if isinstance(plain, HostReplay):  # in Reverb the streams race for places
        assert got == want
        assert min(number for number, _ in got) > 20  # the oldest are gone


def test_writers_are_streams(make):
    frames, plain = make()
    for replay in (frames, plain):
        writers = [replay.writer(), replay.writer()]
        for rows in zip(stream_rows([3, 8], 1), stream_rows([6, 1, 2], 2), strict=False):
            for write, row in zip(writers, rows, strict=True):
                write(row)
        replay.add(stream_rows([1])[0])
    check_equal(frames, plain, 2 * (12 - T + 1))


def test_a_stream_that_breaks_off_begins_anew_even_in_the_middle_of_an_episode(make):
    frames, plain = make()
    rows = stream_rows([10], start=100)
    # The second begins in the middle of an episode, with frames that were never stored; the others
    # with a reset.
    parts = [
        stream_rows([4])[:4],
        rows[5:9],
        stream_rows([5], start=200)[:4],
        stream_rows([4], start=300),
    ]
    for row in [row for part in parts for row in part]:
        frames.add(row)
        plain.add(row)
    check_equal(frames, plain, sum(len(part) - T + 1 for part in parts))


def test_only_the_frames_tell_that_a_row_continues_nothing():
    frames = FrameStackReplay(
        SPEC, lambda spec, n: make_host(spec, n, capacity=100), sequence_length=2
    )
    for row in [*stream_rows([9])[:5], *stream_rows([9], start=100)[3:6]]:
        frames.add(row)
    got = windows(frames)[0]
    assert sorted(number for number, _ in got) == [0, 1, 2, 3, 103, 104]


def test_unbatched_items_priorities_and_files(make, tmp_path):
    frames, plain = make(priority_exponent=1.0)
    # by which loops know that they have to set them
    assert frames.priority_exponent == plain.priority_exponent == 1.0
    rows = stream_rows([4, 4])
    for row in rows:
        frames.add(row)
        plain.add(row)
    item = next(frames.as_dataset())
    assert item.experience.observation["camera"].shape == (T, SIDE, SIDE, STACK)
    assert item.experience.action.shape == (T,)
    samples = next(frames.as_dataset(64, prefetch=0))
    keys = {
        int(a): k for a, k in zip(samples.experience.action[:, 0], samples.info.key, strict=True)
    }
    chosen = sorted(keys)[2]
    frames.update_priorities(
        np.array(list(keys.values())), np.array([float(a == chosen) for a in keys])
    )
    for _ in range(20):  # Reverb takes a moment
        drawn = next(frames.as_dataset(16, prefetch=0)).experience
    assert set(drawn.action[:, 0].tolist()) == {chosen}
    np.testing.assert_array_equal(
        drawn.observation["camera"][0],
        np.stack([r.observation["camera"] for r in rows[chosen:][:T]]),
    )
    with pytest.raises(ValueError, match="num_steps=5"):
        frames.as_dataset(num_steps=5)
    frames.save(tmp_path)
    size = len(frames)
    frames.clear()
    frames.load(tmp_path)
    assert len(frames) == size
    frames.add(rows[-1])  # begins a stream: it might be another's
    assert next(frames.as_dataset(4, prefetch=0)).experience.action.shape == (4, T)


def test_colour_frames_have_several_channels():
    observation = OBSERVATION | {"camera": BoundedSpec((SIDE, SIDE, STACK * 3), np.uint8, 0, 255)}
    spec = trajectory_spec(EnvironmentSpecs(observation, DiscreteSpec(1_000_000)))
    frames = FrameStackReplay(
        spec,
        lambda stored, n: HostReplay(stored, capacity=100, sequence_length=n),
        sequence_length=T,
    )
    plain = HostReplay(spec, capacity=100, sequence_length=T)
    for row in stream_rows([3, 6, 2], colours=3):
        frames.add(row)
        plain.add(row)
    plain_rows, rows = next(plain.as_dataset(512))[0], next(frames.as_dataset(512))[0]
    want = dict(
        zip(plain_rows.action[:, 0].tolist(), plain_rows.observation["camera"], strict=True)
    )
    assert len(want) == 14 - T + 1
    for number, stack in zip(rows.action[:, 0].tolist(), rows.observation["camera"], strict=True):
        np.testing.assert_array_equal(stack, want[number])


def test_batches_on_a_device_are_rebuilt_there():
    frames = FrameStackReplay(
        SPEC,
        lambda stored, n: HostReplay(stored, capacity=100, sequence_length=n),
        sequence_length=T,
    )
    rows = stream_rows([2, 2, 5])
    for row in rows:
        frames.add(row)
    experience, _ = next(frames.as_dataset(8, device=jax.devices()[0]))
    assert isinstance(experience.observation["camera"], jax.Array)
    for number, stack in zip(
        experience.action[:, 0], experience.observation["camera"], strict=True
    ):
        np.testing.assert_array_equal(
            stack, [row.observation["camera"] for row in rows[int(number) :][:T]]
        )


def test_a_row_takes_a_fourth_of_the_bytes():
    observation = BoundedSpec((84, 84, 4), np.uint8, 0, 255)
    spec = trajectory_spec(EnvironmentSpecs(observation, DiscreteSpec(4)))
    frames = FrameStackReplay(
        spec, lambda stored, n: HostReplay(stored, capacity=1000, sequence_length=n)
    )
    plain = HostReplay(spec, capacity=1000)
    bytes_per_row = [replay.layout.row_bytes for replay in (frames.buffer, plain)]
    assert bytes_per_row == [84 * 84 + 20, 4 * 84 * 84 + 20]


def test_what_cannot_be_stored_so_is_refused():
    def host(stored, n):
        return HostReplay(stored, capacity=100, sequence_length=n)

    flat = trajectory_spec(EnvironmentSpecs(ArraySpec((4,)), DiscreteSpec(2)))
    with pytest.raises(ValueError, match=r"a stack of 4 frames .*got \['float32\[4\]'\]"):
        FrameStackReplay(flat, host)
    with pytest.raises(ValueError, match="at least 2 frames, got 1"):
        FrameStackReplay(SPEC, host, stack_size=1)
    frames = FrameStackReplay(SPEC, host)
    row = stream_rows([3])[0]
    padded = row.observation["camera"].copy()
    padded[..., :3] = 0
    with pytest.raises(SpecError, match="reset frame repeated"):
        frames.add(row._replace(observation=row.observation | {"camera": padded}))
    with pytest.raises(SpecError, match="observation/camera: expected uint8"):
        frames.add(row._replace(observation=row.observation | {"camera": padded[..., -1:]}))
    assert len(frames) == 0


@pytest.mark.parametrize("num_envs", [None, 2])
def test_episodes_without_their_boundary_rows_are_refused(make, num_envs):
    frames, _ = make(streams=num_envs or 1)
    rows = [row for row in stream_rows([3, 2]) if row.step_type != StepType.LAST]
    if num_envs:
        rows = [together([row] * num_envs) for row in rows]
    for row in rows[:3]:
        frames.add(row)
    before = len(frames)
    with pytest.raises(ValueError, match="boundary row between them is missing"):
        frames.add(rows[3])
    assert len(frames) == before

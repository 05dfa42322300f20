"""The conformance suite: what every replay buffer on the host must do, on each of them. A new
backend is one line in BACKENDS.

Rows are numbered, in every leaf, so that a sample says which rows it is made of.
"""

import jax
import numpy as np
import pytest

from jax_agents.envs.specs import (
    ArraySpec,
    BoundedSpec,
    DiscreteSpec,
    EnvironmentSpecs,
    trajectory_spec,
)
from jax_agents.envs.types import StepType, Trajectory
from jax_agents.replay import HostReplay, has_reverb
from jax_agents.replay.remote import RemoteReplay

# A leaf of more than a kilobyte has a column of its own, in both layouts.
OBSERVATION = {"camera": BoundedSpec((33, 32), np.uint8, 0, 255), "id": ArraySpec((2,), np.float32)}
SPEC = trajectory_spec(
    EnvironmentSpecs(OBSERVATION, DiscreteSpec(1_000_000)), {"flag": ArraySpec((), np.bool_)}
)


def make_host(made, spec, **config):
    made.append(HostReplay(spec, seed=0, **config))


def make_reverb(made, spec, **config):
    from jax_agents.replay import ReverbReplay

    made.append(ReverbReplay(spec, **config))


def make_remote(made, spec, **config):
    """Our own client, on the server of another buffer, which takes what this one refuses."""
    try:
        make_reverb(made, spec, **config)
    except ValueError:
        address = "localhost:1"
    else:
        address = made[-1].address
    made.append(RemoteReplay(spec, address, **config))


BACKENDS = {"host": make_host, "reverb": make_reverb, "remote": make_remote}


@pytest.fixture(params=BACKENDS)
def make(request):
    """A factory of buffers, with 3 s of patience, that are closed at the end."""
    if request.param != "host" and not has_reverb():
        pytest.skip("Reverb is not installed")
    made = []

    def build(spec=SPEC, **config):
        BACKENDS[request.param](made, spec, **{"capacity": 1000, "timeout": 3.0, **config})
        return made[-1]

    yield build
    for replay in reversed(made):  # a client before its server
        replay.close()


@pytest.fixture
def spec():
    """That of the rows."""
    return SPEC


@pytest.fixture
def make_row():
    """Makes a row in which every leaf says which row of which stream it is."""

    def make_row(number, step_type=StepType.MID, next_step_type=StepType.MID, stream=0):
        return Trajectory(
            step_type=np.int32(step_type),
            observation={
                "camera": np.full((33, 32), number % 251, np.uint8),
                "id": np.array([number, stream], np.float32),
            },
            action=np.int32(number),
            policy_info={"flag": np.bool_(number % 3 == 0)},
            next_step_type=np.int32(next_step_type),
            reward=np.float32(number / 8),
            discount=np.float32(number % 2),
        )

    return make_row


@pytest.fixture
def episode_rows(make_row):
    """Rows of episodes of `episode_length` steps, each with its boundary row (LAST -> FIRST)."""

    def episode_rows(num_rows, episode_length, stream=0, first=0):
        types = [StepType.FIRST, *[StepType.MID] * (episode_length - 1), StepType.LAST] * (
            num_rows // episode_length + 2
        )
        return [make_row(first + i, types[i], types[i + 1], stream) for i in range(num_rows)]

    return episode_rows


@pytest.fixture
def stack():
    """Makes a batch of rows, one from each of several environments."""
    return lambda rows: jax.tree.map(lambda *x: np.stack(x), *rows)


@pytest.fixture
def draw():
    """Draws samples, after all that was added is visible: exactly `num_items` items."""

    def draw(replay, num_items, batches=30):
        # asking for more than there is makes Reverb's writers hand over
        assert not replay.can_sample(replay.capacity + 1)
        assert replay.can_sample(num_items)
        samples = replay.as_dataset(sample_batch_size=64, prefetch=0)
        out = [next(samples) for _ in range(batches)]
        assert set(np.concatenate([s.info.table_size for s in out])) == {num_items}
        return out

    return draw


@pytest.fixture
def windows():
    """The distinct windows of samples, as tuples of (row, stream), after checking that all leaves
    of a row belong together.
    """

    def windows(samples):
        found = set()
        for experience, _ in samples:
            ids = experience.observation["id"]
            number = ids[..., 0].astype(np.int64)
            np.testing.assert_array_equal(experience.action, number)
            np.testing.assert_array_equal(experience.reward, number / 8)
            np.testing.assert_array_equal(experience.discount, number % 2)
            np.testing.assert_array_equal(experience.policy_info["flag"], number % 3 == 0)
            camera = np.broadcast_to(
                (number % 251)[..., None, None], experience.observation["camera"].shape
            )
            np.testing.assert_array_equal(experience.observation["camera"], camera)
            found |= {tuple(map(tuple, window)) for window in ids.astype(int).tolist()}
        return found

    return windows


@pytest.fixture
def expected():
    """The windows of so many rows that start at these rows of a stream."""
    return lambda starts, length, stream=0: {
        tuple((t, stream) for t in range(start, start + length)) for start in starts
    }

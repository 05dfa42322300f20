import doctest

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents import metrics
from jax_agents.envs.types import Trajectory

FIRST, MID, LAST = 0, 1, 2
KINDS = {
    "boundary": (LAST, FIRST),
    "first": (FIRST, MID),
    "mid": (MID, MID),
    "last": (MID, LAST),
    "only": (FIRST, LAST),
}
ALL = [
    metrics.AverageReturn(),
    metrics.MaxReturn(),
    metrics.MinReturn(),
    metrics.AverageEpisodeLength(),
    metrics.EnvironmentSteps(),
    metrics.NumberOfEpisodes(),
]


def rows(step_type, next_step_type, reward):
    zero = np.zeros(np.shape(reward), np.float32)
    types = np.asarray(step_type, np.int32), np.asarray(next_step_type, np.int32)
    return Trajectory(types[0], zero, zero, (), types[1], np.asarray(reward, np.float32), zero + 1)


def stream(*frames):
    """Rows [T] from (kind, reward) pairs."""
    return rows(
        [KINDS[k][0] for k, _ in frames], [KINDS[k][1] for k, _ in frames], [r for _, r in frames]
    )


def random_stream(rng, num_rows, num_envs):
    """Rows [T, n] of environments that end with probability 0.3 and keep to the row convention;
    rewards are integers.
    """
    step_type = np.full(num_envs, FIRST)
    out = []
    for _ in range(num_rows):
        next_type = np.where(rng.random(num_envs) < 0.3, LAST, MID)
        next_type = np.where(step_type == LAST, FIRST, next_type)
        out.append(rows(step_type, next_type, rng.integers(-5, 6, num_envs)))
        step_type = next_type
    return jax.tree.map(lambda *x: np.stack(x), *out)


@jax.jit
def all_results(experience):
    """All metrics of rows [T, ...] by one record in a scan (buffer of 10), and by MaxReturn with a
    buffer of 2.
    """
    step = lambda m: lambda record, row: (m.update(record, row), None)
    small = metrics.MaxReturn(buffer_size=2)
    shape = experience.step_type.shape[1:]
    record = jax.lax.scan(step(ALL[0]), ALL[0].init(shape), experience)[0]
    results = [m.result(record) for m in ALL[:4]]
    # Counters read the record of any metric.
    results += [m.result(record) for m in ALL[4:]]
    return [*results, small.result(jax.lax.scan(step(small), small.init(shape), experience)[0])]


def hosted(experience, batch=True):
    observer, small = (
        metrics.MetricObserver(*ALL),
        metrics.MetricObserver(metrics.MaxReturn(buffer_size=2)),
    )
    for t in range(experience.step_type.shape[0]):
        row = jax.tree.map(lambda x: x[t], experience)  # noqa: B023
        observer(row)
        small(row)
    return [*observer.result().values(), small.result()]


def reference(experience):
    """The definition in plain Python, by episode: rows [T, n] -> what all_results gives."""
    ended, steps = [], 0
    totals = [[0.0, 0] for _ in range(experience.reward.shape[1])]
    for t in range(experience.reward.shape[0]):
        for i, total in enumerate(totals):
            if experience.step_type[t, i] == LAST:
                continue
            total[0] += float(experience.reward[t, i])
            total[1] += 1
            steps += 1
            if experience.next_step_type[t, i] == LAST:
                ended.append(tuple(total))
                total[:] = [0.0, 0]
    returns, lengths = [r for r, _ in ended[-10:]] or [0.0], [n for _, n in ended[-10:]] or [0]
    last_two = [r for r, _ in ended[-2:]] or [0.0]
    return [
        np.mean(returns),
        max(returns),
        min(returns),
        np.mean(lengths),
        steps,
        len(ended),
        max(last_two),
    ]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        # TF-Agents' own cases (metrics/py_metrics_test.py:71 and :89): return, length, steps,
        # episodes.
        ([("boundary", 0), ("first", 1)], (0, 0, 1, 0)),
        ([("boundary", 0), ("mid", 1), ("mid", 2), ("last", 3)], (6, 3, 3, 1)),
        # The reward on a boundary row belongs to no episode.
        (
            [
                ("first", 1),
                ("last", 2),
                ("boundary", 100),
                ("first", 3),
                ("last", 4),
                ("boundary", 100),
            ],
            (5, 2, 4, 2),
        ),
        # An episode of a single step.
        ([("only", 7), ("boundary", 0), ("only", 9)], (8, 1, 2, 2)),
        # A driver that resets in the middle of an episode: the unfinished one is dropped, its steps
        # were taken.
        ([("first", 50), ("mid", 50), ("first", 1), ("last", 2)], (3, 2, 4, 1)),
    ],
)
def test_hand_worked_streams(frames, expected):
    experience = stream(*frames)
    names = ("AverageReturn", "AverageEpisodeLength", "EnvironmentSteps", "NumberOfEpisodes")
    for results in (all_results(experience), hosted(experience)):
        by_name = dict(zip([m.name for m in ALL], results, strict=False))
        assert tuple(float(by_name[name]) for name in names) == expected


def test_the_buffer_keeps_the_last_episodes_only():
    experience = stream(*[("only", r) for r in [100, -100, *range(1, 11)]])
    for results in (all_results(experience), hosted(experience)):
        np.testing.assert_allclose(results[:3], [5.5, 10, 1])


def test_more_episodes_may_end_in_one_row_than_the_buffer_holds():
    """12 environments end together, returns 0..11: a buffer of 10 keeps 2..11 and a buffer of 2
    keeps 10 and 11.
    """
    experience = rows(np.zeros((1, 12)), np.full((1, 12), LAST), np.arange(12)[None])
    for results in (all_results(experience), hosted(experience)):
        np.testing.assert_allclose(results, [6.5, 11, 2, 1, 12, 12, 11])


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(seed=st.integers(0, 2**32 - 1), num_envs=st.sampled_from([1, 3]))
def test_scan_host_and_definition_agree_on_random_streams(seed, num_envs):
    experience = random_stream(np.random.default_rng(seed), 40, num_envs)
    expected = reference(experience)
    np.testing.assert_allclose(np.asarray(all_results(experience), float), expected, rtol=1e-6)
    np.testing.assert_allclose(hosted(experience), expected, rtol=1e-12)


def test_unbatched_host_rows_equal_a_batch_of_one():
    experience = random_stream(np.random.default_rng(3), 60, 1)
    assert hosted(jax.tree.map(lambda x: x[:, 0], experience)) == hosted(experience)


def test_vmap_over_seeds_keeps_records_apart():
    experience = random_stream(np.random.default_rng(0), 40, 6)
    by_seed = jax.tree.map(lambda x: x.reshape(40, 3, 2).swapaxes(0, 1), experience)
    results = np.stack(jax.vmap(all_results)(by_seed), -1)
    for s in range(3):
        one = jax.tree.map(lambda x, s=s: x[s], by_seed)
        np.testing.assert_allclose(results[s], reference(one), rtol=1e-6)


def test_state_keeps_its_types_so_it_can_be_scanned_and_donated():
    metric = metrics.AverageReturn()
    row = jax.tree.map(lambda x: jnp.asarray(x[0]), stream(("first", 1)))
    integer_reward = row._replace(reward=jnp.int32(1))
    for candidate in (row, integer_reward):
        new = jax.eval_shape(metric.update, metric.init(), candidate)
        assert jax.tree.map(lambda x: (x.shape, x.dtype), new) == jax.tree.map(
            lambda x: (x.shape, x.dtype), metric.init()
        )


def test_errors():
    with pytest.raises(
        ValueError, match="AverageReturn: buffer_size must be at least 1 episode, got 0"
    ):
        metrics.AverageReturn(buffer_size=0)
    with pytest.raises(NotImplementedError, match="must define result"):
        metrics.Metric().result(metrics.Metric().init())


def test_docstrings():
    import jax_agents.metrics.metrics as module

    result = doctest.testmod(module)
    assert result.attempted and not result.failed

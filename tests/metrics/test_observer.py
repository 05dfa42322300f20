import doctest

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents import metrics
from jax_agents.envs.types import Trajectory


def row(step_type, next_step_type, reward):
    return Trajectory(
        np.int32(step_type),
        None,
        None,
        (),
        np.int32(next_step_type),
        np.float32(reward),
        np.float32(1),
    )


def batch(step_type, next_step_type, reward):
    types = np.array(step_type, np.int32), np.array(next_step_type, np.int32)
    return Trajectory(
        types[0],
        None,
        None,
        (),
        types[1],
        np.array(reward, np.float32),
        np.ones(len(reward), np.float32),
    )


def test_one_metric_gives_a_number_and_several_a_dict():
    one = metrics.MetricObserver(metrics.AverageReturn())
    two = metrics.MetricObserver(metrics.MaxReturn(), metrics.MinReturn())
    assert one.name == "AverageReturn" and two.name == "MaxReturn, MinReturn"
    for observer in (one, two):
        for reward in (1, 2):
            observer(row(0, 2, reward))
    assert one.result() == 1.5 and isinstance(one.result(), float)
    assert two.result() == {"MaxReturn": 2.0, "MinReturn": 1.0}
    counter = metrics.MetricObserver(metrics.EnvironmentSteps())
    assert counter.result() == 0 and isinstance(counter.result(), int)


def test_negative_returns_are_not_compared_with_empty_slots():
    observer = metrics.MetricObserver(metrics.MaxReturn(), metrics.MinReturn())
    observer(row(0, 2, -7))
    assert observer.result() == {"MaxReturn": -7.0, "MinReturn": -7.0}


def test_each_metric_has_its_own_buffer_size():
    observer = metrics.MetricObserver(
        metrics.AverageReturn(buffer_size=1), metrics.MaxReturn(buffer_size=3)
    )
    for reward in (9, 4, 3, 2):
        observer(row(0, 2, reward))
    assert observer.result() == {"AverageReturn": 2.0, "MaxReturn": 4.0}


def test_environments_of_a_batch_accumulate_apart_and_rows_stay_untouched():
    observer = metrics.MetricObserver(
        *[m() for m in (metrics.AverageReturn, metrics.AverageEpisodeLength)]
    )
    first = batch([0, 0], [1, 2], [1, 10])
    observer(first)
    # the second environment's row is a boundary: not even NaN counts
    observer(batch([1, 2], [2, 0], [2, np.nan]))
    assert observer.result() == {"AverageReturn": (10 + 3) / 2, "AverageEpisodeLength": 1.5}
    np.testing.assert_array_equal(first.reward, [1, 10])


def test_reset_forgets_everything_and_allows_another_batch_shape():
    observer = metrics.MetricObserver(metrics.AverageReturn(), metrics.NumberOfEpisodes())
    observer(row(0, 1, 5))
    with pytest.raises(ValueError, match=r"batch shape \(\) and now have \(2,\); call reset\(\)"):
        observer(batch([0, 0], [1, 1], [1, 1]))
    observer.reset()
    observer(batch([1, 1], [2, 1], [1, 1]))
    assert observer.result() == {"AverageReturn": 1.0, "NumberOfEpisodes": 1}


def test_jax_rows_are_accepted():
    observer = metrics.MetricObserver(metrics.AverageReturn())
    observer(jax.tree.map(jnp.asarray, row(0, 2, 3)))
    assert observer.result() == 3.0


def test_record_is_a_copy_in_numpy():
    observer = metrics.MetricObserver(metrics.AverageReturn())
    observer(batch([0, 0], [1, 2], [1, 4]))
    record = observer.record()
    record.episode_return[:] = 99
    observer(batch([1, 2], [2, 0], [2, 0]))
    assert observer.result() == 3.5
    assert record.returns[0] == 4 and record.episodes == 1 and record.steps == 2


def test_records_of_fewer_and_of_too_many_episodes():
    observer = metrics.MetricObserver(metrics.AverageReturn(buffer_size=2))
    observer(row(0, 2, 3))
    observer(row(2, 0, 0))
    observer(row(0, 2, 5))
    assert observer.record().returns.tolist() == [3.0, 5.0]
    assert observer.record(1).returns.tolist() == [5.0]
    assert observer.record(0).returns.shape == (0,)
    with pytest.raises(ValueError, match="buffer_size <= 2"):
        observer.record(3)


def test_errors():
    with pytest.raises(ValueError, match="needs metrics with names of their own, got \\[\\]"):
        metrics.MetricObserver()
    with pytest.raises(ValueError, match="names of their own"):
        metrics.MetricObserver(metrics.AverageReturn(), metrics.AverageReturn(buffer_size=100))
    with pytest.raises(ValueError, match=r"one reward per environment, of shape \(\), got \(2,\)"):
        metrics.MetricObserver(metrics.AverageReturn())(row(0, 1, 0)._replace(reward=np.zeros(2)))


def test_docstrings():
    import jax_agents.metrics.observer as module

    result = doctest.testmod(module)
    assert result.attempted and not result.failed

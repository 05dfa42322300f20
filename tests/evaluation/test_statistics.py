import doctest

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.stats

from jax_agents import evaluation

scores_2d = hnp.arrays(
    np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.floats(-1e3, 1e3)
)


def test_interquartile_mean_by_hand():
    assert evaluation.interquartile_mean([7]) == 7
    assert evaluation.interquartile_mean([1, 2, 9]) == 4  # fewer than 4: nothing to drop
    assert evaluation.interquartile_mean([9, 1, 3, -100]) == 2
    assert evaluation.interquartile_mean([[0, 1], [2, 3], [4, 5], [6, 1000]]) == 3.5
    np.testing.assert_array_equal(
        evaluation.interquartile_mean([[0, 9], [1, 1], [3, 3], [50, -4]], axis=0), [2, 2]
    )
    np.testing.assert_array_equal(evaluation.interquartile_mean([[9, 1, 3, -100]], axis=1), [2])


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(scores_2d)
def test_interquartile_mean_is_scipys_trimmed_mean(scores):
    for axis in (None, 0, 1):
        ours = evaluation.interquartile_mean(scores, axis=axis)
        np.testing.assert_allclose(
            ours, scipy.stats.trim_mean(scores, 0.25, axis=axis), rtol=1e-9, atol=1e-9
        )


def test_bootstrap_interval_of_two_runs_by_hand():
    """The mean of two draws from {0, 1} is 0, 1/2 or 1 with probability 1/4, 1/2, 1/4."""
    assert evaluation.stratified_bootstrap_interval([0, 1], np.mean, confidence=0.95) == (0, 1)
    assert evaluation.stratified_bootstrap_interval([0, 1], np.mean, confidence=0.4) == (0.5, 0.5)


def test_bootstrap_is_stratified_and_draws_runs_apart_in_every_task():
    """Tasks on far apart scales never mix: a mean over tasks always holds one value of each."""
    scores = np.array([[0, 100], [1, 300]])
    seen = set()

    def mean_of_first_run(sample):
        seen.add(tuple(sample[0]))
        return sample.mean()

    low, high = evaluation.stratified_bootstrap_interval(scores, mean_of_first_run)
    assert seen == {(0, 100), (0, 300), (1, 100), (1, 300)}
    assert (low, high) == (50, 150.5)


def test_bootstrap_matches_scipys_percentile_interval():
    scores = np.random.default_rng(0).normal(size=12)
    ours = evaluation.stratified_bootstrap_interval(scores, repetitions=4000)
    theirs = scipy.stats.bootstrap(
        (scores,),
        lambda x, axis=-1: scipy.stats.trim_mean(x, 0.25, axis=axis),
        n_resamples=4000,
        method="percentile",
        rng=1,
    ).confidence_interval
    np.testing.assert_allclose(ours, theirs, atol=0.06)


def test_the_interval_covers_the_true_value_about_as_often_as_it_says():
    """10 runs of 3 tasks, normal scores of interquartile mean 0; 200 experiments, nominal 90 %."""
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(200):
        low, high = evaluation.stratified_bootstrap_interval(
            rng.normal(size=(10, 3)), confidence=0.9, repetitions=200, seed=seed
        )
        covered += low <= 0 <= high
    assert 0.8 <= covered / 200 <= 0.97


def test_the_interval_is_a_function_of_its_seed_and_widens_with_confidence():
    scores = np.random.default_rng(2).normal(size=8)
    interval = evaluation.stratified_bootstrap_interval
    assert (
        interval(scores)
        == interval(scores[:, None])
        == interval(scores, seed=0)
        != interval(scores, seed=1)
    )
    narrow, wide = interval(scores, confidence=0.5), interval(scores, confidence=0.99)
    assert wide[0] < narrow[0] < evaluation.interquartile_mean(scores) < narrow[1] < wide[1]
    assert interval([3.0]) == (3, 3)


def test_a_statistic_may_be_an_array():
    low, high = evaluation.stratified_bootstrap_interval(
        [[1, 5], [1, 6], [1, 7]], lambda s: s.mean(axis=0)
    )
    assert low[0] == high[0] == 1 and 5 <= low[1] < 6 < high[1] <= 7


@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(
    hnp.arrays(np.int64, (5,), elements=st.integers(-3, 3)),
    hnp.arrays(np.int64, (4,), elements=st.integers(-3, 3)),
)
def test_probability_of_improvement_is_the_mann_whitney_statistic(x, y):
    expected = scipy.stats.mannwhitneyu(x, y, method="asymptotic").statistic / 20
    assert evaluation.probability_of_improvement(x, y) == pytest.approx(expected)
    assert evaluation.probability_of_improvement(y, x) == pytest.approx(1 - expected)


def test_probability_of_improvement_averages_over_tasks():
    assert evaluation.probability_of_improvement([[1, 0]], [[0, 0], [0, 1]]) == (1 + 0.25) / 2


def test_performance_profile_by_hand():
    profile = evaluation.performance_profile([[0, 1], [2, 3]], [-1, 0, 1.5, 3])
    np.testing.assert_array_equal(profile, [1, 0.75, 0.5, 0])


def test_summarize():
    summary = evaluation.summarize([0, 1, 3, 100])
    assert set(summary) == {"iqm", "low", "high", "mean", "min", "max"}
    assert (summary["iqm"], summary["mean"], summary["min"], summary["max"]) == (2, 26, 0, 100)
    assert 0 <= summary["low"] < 2 < summary["high"] <= 100
    assert all(type(value) is float for value in summary.values())
    assert set(evaluation.summarize([500.0] * 10).values()) == {500.0}


@pytest.mark.parametrize("function", [evaluation.interquartile_mean, evaluation.summarize])
def test_errors_for_bad_scores(function):
    with pytest.raises(ValueError, match=r"at least one run, got none \(shape \[0\]\)"):
        function([])
    with pytest.raises(ValueError, match="2 of 3 scores are NaN or infinite"):
        function([1, np.nan, np.inf])


def test_errors():
    with pytest.raises(
        ValueError, match=r"scores \[runs\] or \[runs, tasks\], got shape \[2, 2, 2\]"
    ):
        evaluation.stratified_bootstrap_interval(np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match="got confidence=95, repetitions=2000"):
        evaluation.stratified_bootstrap_interval([1, 2], confidence=95)
    with pytest.raises(ValueError, match="same tasks, got 2 and 1 tasks"):
        evaluation.probability_of_improvement(np.zeros((3, 2)), np.zeros(3))


def test_docstrings():
    import jax_agents.evaluation.statistics as module

    result = doctest.testmod(module)
    assert result.attempted and not result.failed

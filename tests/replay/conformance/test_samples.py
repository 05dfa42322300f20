"""What a sample is, and how it is drawn."""

import jax
import numpy as np
import pytest

from jax_agents.envs.types import Sample


def test_uniform_draws_have_equal_frequencies(make, make_row, draw):
    replay = make(sequence_length=2)
    for t in range(11):
        replay.add(make_row(t))
    samples = draw(replay, 10, batches=150)
    counts = np.bincount(np.concatenate([s.experience.action[:, 0] for s in samples]), minlength=10)
    assert counts.sum() == 9600
    np.testing.assert_allclose(counts / 9600, 0.1, atol=0.02)  # six standard deviations
    assert all((s.info.probability == 0.1).all() for s in samples)
    assert any(len(set(s.info.key.tolist())) < 64 for s in samples)  # with replacement


def test_the_sample_and_its_info(make, make_row, spec):
    replay = make(sequence_length=2)
    for t in range(5):
        replay.add(make_row(t))
    sample = next(replay.as_dataset(sample_batch_size=8, num_steps=2))
    experience, info = sample
    assert isinstance(sample, Sample)
    for leaf, one in zip(jax.tree.leaves(experience), jax.tree.leaves(spec), strict=True):
        assert leaf.shape == (8, 2, *one.shape)
        assert leaf.dtype == one.dtype
    assert all(isinstance(x, np.ndarray) and x.shape == (8,) for x in info)
    assert info.key.dtype == np.uint64
    assert len(np.unique(info.key)) == len(np.unique(experience.action[:, 0]))
    assert (info.times_sampled >= 1).all()
    one = next(replay.as_dataset())
    assert one.experience.observation["camera"].shape == (2, 33, 32)
    assert one.experience.action.shape == (2,)
    assert np.shape(one.info.key) == ()
    assert one.info.key.dtype == np.uint64


def test_times_sampled_counts(make, make_row):
    replay = make(sequence_length=2)
    replay.add(make_row(0))
    replay.add(make_row(1))
    samples = replay.as_dataset(sample_batch_size=4, prefetch=0)
    seen = [next(samples).info.times_sampled.max() for _ in range(3)]
    assert seen[0] <= seen[1] <= seen[2]
    assert seen[2] >= 9


def test_samples_on_a_device(make, make_row, windows, expected):
    replay = make()
    for t in range(5):
        replay.add(make_row(t))
    samples = replay.as_dataset(sample_batch_size=4, device=jax.devices()[0])
    out = [next(samples) for _ in range(4)]
    assert all(isinstance(x, jax.Array) for s in out for x in jax.tree.leaves(s.experience))
    assert all(s.info.key.dtype == np.uint64 and isinstance(s.info.key, np.ndarray) for s in out)
    assert windows(Sample(jax.tree.map(np.asarray, s.experience), s.info) for s in out) <= expected(
        range(4), 2
    )


@pytest.mark.parametrize("on_device", [False, True])
def test_batches_are_copies(make, on_device, make_row):
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

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.envs.specs import ArraySpec, BoundedSpec, DiscreteSpec, sample
from jax_agents.networks.normalizer import (
    init_statistics,
    merge_statistics,
    normalize,
    normalize_observation,
    update_statistics,
)

SPEC = {
    "x": ArraySpec((3,)),
    "speed": ArraySpec(()),
    "mask": ArraySpec((2,), np.bool_),
    "kind": DiscreteSpec(4),
}


def values(seed: int, *batch: int) -> dict:
    rng = np.random.default_rng(seed)
    return {
        "x": rng.normal([100.0, 0.0, -5.0], [3.0, 0.1, 20.0], (*batch, 3)).astype(np.float32),
        "speed": rng.exponential(2.0, batch).astype(np.float32),
        "mask": rng.random((*batch, 2)) < 0.5,
        "kind": rng.integers(4, size=batch),
    }


def test_first_batch_is_its_own_statistics():
    batch = values(0, 5, 7)
    statistics = update_statistics(init_statistics(SPEC), batch)
    assert statistics.count == 35
    np.testing.assert_allclose(statistics.mean["x"], batch["x"].mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(statistics.variance["x"], batch["x"].var((0, 1)), rtol=1e-4)
    normal = normalize(statistics, batch)
    np.testing.assert_allclose(normal["x"].mean((0, 1)), 0.0, atol=1e-4)
    np.testing.assert_allclose(normal["x"].std((0, 1)), 1.0, rtol=1e-3)
    np.testing.assert_allclose(normal["speed"].std(), 1.0, rtol=1e-3)


def test_batches_one_after_another_are_all_values_at_once():
    batches = [values(seed, *shape) for seed, shape in enumerate([(4, 3), (1, 1), (50, 2)])]
    statistics = init_statistics(SPEC)
    for batch in batches:
        statistics = update_statistics(statistics, batch)
    every = np.concatenate([batch["x"].reshape(-1, 3) for batch in batches]).astype(np.float64)
    assert statistics.count == 113
    np.testing.assert_allclose(statistics.mean["x"], every.mean(0), rtol=1e-5)
    np.testing.assert_allclose(statistics.variance["x"], every.var(0), rtol=1e-4)


def test_several_statistics_merge_to_those_of_all_values():
    """There are three workers, one of which has seen nothing."""
    batches = [values(0, 6), values(1, 40)]
    workers = [update_statistics(init_statistics(SPEC), batch) for batch in batches] + [
        init_statistics(SPEC)
    ]
    merged = merge_statistics(jax.tree.map(lambda *x: jnp.stack(x), *workers))
    every = update_statistics(
        init_statistics(SPEC), jax.tree.map(lambda *x: np.concatenate(x), *batches)
    )
    assert merged.count == 46
    for a, b in zip(jax.tree.leaves(merged), jax.tree.leaves(every), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)
    nothing = merge_statistics(jax.tree.map(lambda x: jnp.stack([x, x]), init_statistics(SPEC)))
    for a, b in zip(jax.tree.leaves(nothing), jax.tree.leaves(init_statistics(SPEC)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_leave_out():
    batch = values(1, 6, 5)
    weights = np.zeros((6, 5))
    weights[:, :2] = 1
    part = {name: x[:, :2] for name, x in batch.items()}
    some, fewer = (
        update_statistics(init_statistics(SPEC), batch, weights),
        update_statistics(init_statistics(SPEC), part),
    )
    for a, b in zip(jax.tree.leaves(some), jax.tree.leaves(fewer), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)
    none = update_statistics(some, batch, np.zeros((6, 5)))
    for a, b in zip(jax.tree.leaves(some), jax.tree.leaves(none), strict=True):
        np.testing.assert_array_equal(a, b)


def test_nothing_seen_changes_nothing_and_no_float_is_never_changed():
    batch = values(2, 4)
    fresh = normalize(init_statistics(SPEC), {**batch, "x": batch["x"] / 100})
    np.testing.assert_allclose(fresh["x"], batch["x"] / 100, rtol=1e-5)
    seen = normalize(update_statistics(init_statistics(SPEC), batch), batch)
    assert seen["mask"] is batch["mask"] and seen["kind"] is batch["kind"]


def test_constant_and_far_values_stay_finite():
    statistics = update_statistics(
        init_statistics(ArraySpec((2,))), jnp.array([[3.0, 0.0], [3.0, 1.0]])
    )
    np.testing.assert_allclose(normalize(statistics, jnp.array([3.0, 1e9])), [0.0, 10.0])


def test_devices_merge():
    batch = values(3, 4, 5)
    whole = update_statistics(init_statistics(SPEC), batch)
    halves = jax.tree.map(lambda x: x.reshape(2, 2, *x.shape[1:]), batch)
    merged = jax.vmap(
        lambda b: update_statistics(init_statistics(SPEC), b, axis_name="d"), axis_name="d"
    )(halves)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(merged), strict=True):
        np.testing.assert_allclose(b, np.stack([a, a]), rtol=1e-4)


def test_policy_parameters_carry_the_statistics():
    batch = values(4, 8)
    statistics = update_statistics(init_statistics(SPEC), batch)
    assert normalize_observation({"params": {}}, batch) is batch
    normal = normalize_observation({"observation_statistics": statistics}, batch)
    np.testing.assert_allclose(normal["speed"], normalize(statistics, batch)["speed"])
    with pytest.raises(ValueError):
        normalize(statistics, {"x": batch["x"]})


NUMBERS = {
    "float": BoundedSpec((2,), np.float32, 0, 9),
    "int8": BoundedSpec((2,), np.int8, 0, 9),
    "int32": BoundedSpec((2,), np.int32, 0, 9),
    "uint8": BoundedSpec((2,), np.uint8, 0, 9),
    "one": BoundedSpec((), np.int32, 0, 9),
}
OTHERS = {
    "mask": ArraySpec((2,), np.bool_),
    "choice": DiscreteSpec(9),
    "choices": DiscreteSpec((9, 9)),
    "image": BoundedSpec((36, 36, 1), np.uint8, 0, 255),
    "channels first": BoundedSpec((1, 36, 36), np.uint8, 0, 255),
    "grey": BoundedSpec((36, 36), np.uint8, 0, 255),
}


def test_integers_that_are_numbers_are_normalised_and_others_are_not():
    spec = NUMBERS | OTHERS
    batch = sample(spec, jax.random.key(0), (50,))
    statistics = update_statistics(init_statistics(spec), batch)
    normal = normalize(statistics, batch)
    for name in NUMBERS:
        given = np.asarray(batch[name], np.float32)
        np.testing.assert_allclose(statistics.mean[name], given.mean(0), rtol=1e-5)
        np.testing.assert_allclose(normal[name], (given - given.mean(0)) / given.std(0), atol=1e-3)
        assert normal[name].dtype == np.float32
    for name in OTHERS:
        np.testing.assert_array_equal(normal[name], batch[name])
        assert normal[name].dtype == batch[name].dtype and statistics.mean[name].size == 0

import json

import numpy as np
import pytest

from jax_agents.experiments.sweeps.search_space import (
    choice,
    grid_search,
    log_uniform,
    uniform,
    variants,
)


def test_a_grid_makes_all_combinations_in_order():
    found = variants(
        {
            "learning_rate": grid_search([1e-3, 0.5]),
            "gamma": 0.9,
            "hidden": grid_search([[8], (8, 4)]),
        }
    )
    assert [label for label, _ in found] == [
        "learning_rate=0.001_hidden=8",
        "learning_rate=0.001_hidden=8-4",
        "learning_rate=0.5_hidden=8",
        "learning_rate=0.5_hidden=8-4",
    ]
    assert found[2][1] == {"learning_rate": 0.5, "gamma": 0.9, "hidden": [8]}
    assert variants({}) == [("", {})]


def test_draws_are_functions_of_the_seed_within_their_bounds_and_as_they_are_said_to_fall():
    space = {"a": uniform(2, 4), "b": log_uniform(1e-4, 1e-2), "c": choice(["x", "y", "z"])}
    assert variants(space, 3, seed=5) == variants(space, 3, seed=5) != variants(space, 3, seed=6)
    drawn = [values for _, values in variants(space, 1000)]
    a, b = (np.array([values[key] for values in drawn]) for key in "ab")
    assert a.min() > 2 and a.max() < 4 and abs(a.mean() - 3) < 0.06  # 3 standard errors
    assert b.min() > 1e-4 and b.max() < 1e-2 and abs(np.median(np.log10(b)) + 3) < 0.1
    assert {
        key: 280 < sum(values["c"] == key for values in drawn) < 390 for key in "xyz"
    } == dict.fromkeys("xyz", True)


def test_every_sample_goes_through_the_grid_with_draws_of_its_own_and_a_label_of_its_own():
    found = variants(
        {"gamma": grid_search([0.9, 0.99]), "learning_rate": uniform(0.1, 0.2)}, num_samples=2
    )
    assert [values["gamma"] for _, values in found] == [0.9, 0.99, 0.9, 0.99]
    assert (
        len({values["learning_rate"] for _, values in found})
        == len({label for label, _ in found})
        == 4
    )
    label, values = found[3]
    assert label == f"gamma=0.99_learning_rate={values['learning_rate']:.4g}_sample_1"


def test_marks_are_what_json_holds_and_ray_tunes_grid():
    space = {"gamma": grid_search([0.9]), "learning_rate": log_uniform(1e-4, 1e-2)}
    assert variants(json.loads(json.dumps(space))) == variants(space)
    assert grid_search([1, 2]) == {"grid_search": [1, 2]}


@pytest.mark.parametrize(
    "value, message",
    [
        (
            {"grid": [1]},
            r"expected a value, or "
            r"\{grid_search or uniform or log_uniform or choice: \[\.\.\.\]\}, got \{'grid'",
        ),
        ({}, "expected a value"),
        (grid_search([]), "expected a value"),
        (uniform(1, 1), r"expected \{uniform: \[low, high\]\}, numbers low < high, got \[1, 1\]"),
        ({"uniform": [1]}, "low < high"),
        (log_uniform(0, 1), ", positive numbers low < high"),
    ],
)
def test_marks_that_are_wrong(value, message):
    with pytest.raises(ValueError, match=f"config gamma: .*{message}"):
        variants({"gamma": value})


def test_samples_of_nothing_random():
    with pytest.raises(
        ValueError, match="num_samples=2: nothing in the configuration is random; for several seeds"
    ):
        variants({"gamma": grid_search([1])}, num_samples=2)
    with pytest.raises(ValueError, match="num_samples: expected at least 1, got 0"):
        variants({}, num_samples=0)

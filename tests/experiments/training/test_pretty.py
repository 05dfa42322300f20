"""Results as text."""

import numpy as np

from jax_agents.experiments.training.pretty import pretty_print


def test_none_is_left_out_and_nested_dicts_are_indented():
    result = {
        "training_iteration": 3,
        "episode_len_mean": None,
        "loss": np.float32(0.25),
        "timestamp": 1767225600.1234,
        "empty": {"only": None},
        "evaluation": {"returns": np.array([1.0, 2.5]), "more": {"names": ["a", 1]}},
        "worst": float("nan"),
    }
    assert pretty_print(result).splitlines() == [
        "training_iteration: 3",
        "loss: 0.25",
        "timestamp: 1767225600.123",
        "evaluation:",
        "  returns: [1, 2.5]",
        "  more:",
        "    names: [a, 1]",
        "worst: nan",
    ]
    assert pretty_print({}) == ""

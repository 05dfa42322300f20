"""Copies to a device that run ahead."""

import itertools

import jax
import numpy as np
import pytest

from jax_agents.envs.types import Sample
from jax_agents.replay.prefetch import DeviceCopies


@pytest.fixture
def draw():
    numbers = itertools.count()
    return lambda: Sample(np.float32([next(numbers)]), "info")


def test_without_a_device_samples_are_as_they_were_drawn(draw):
    copies = DeviceCopies(None, 5)
    assert copies.next(draw).experience.tolist() == [0.0]
    assert isinstance(copies.next(draw).experience, np.ndarray)
    assert draw().experience.tolist() == [2.0]  # nothing was drawn ahead


@pytest.mark.parametrize("depth", [0, 2])
def test_this_many_samples_are_drawn_ahead_and_come_in_order(draw, depth):
    copies = DeviceCopies(jax.devices()[0], depth)
    first, second = copies.next(draw), copies.next(draw)
    assert isinstance(first.experience, jax.Array) and first.info == "info"
    assert [int(first.experience[0]), int(second.experience[0])] == [0, 1]
    assert draw().experience.tolist() == [2.0 + depth]


def test_what_was_drawn_ahead_can_be_dropped(draw):
    copies = DeviceCopies(jax.devices()[0], 1)
    copies.next(draw)
    copies.clear()
    assert int(copies.next(draw).experience[0]) == 2

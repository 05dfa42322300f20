"""Target updates by numbers, each of a scalar parameter of 4 and a target of 2."""

import jax.numpy as jnp
import pytest

from jax_agents.agents import delayed, periodic, polyak

ONLINE = {"w": jnp.float32(4.0)}
TARGET = {"w": jnp.float32(2.0)}


def after(update, step):
    return float(update(ONLINE, TARGET, jnp.int32(step))["w"])


def test_polyak_moves_a_part_of_the_way():
    assert after(polyak(0.25), 1) == 2.5
    assert after(polyak(0.0), 1) == 2.0 and after(polyak(1.0), 1) == 4.0


def test_periodic_copies_after_every_period():
    assert [after(periodic(3), step) for step in (1, 2, 3, 4, 6)] == [2, 2, 4, 2, 4]


def test_delayed_acts_after_every_period_only():
    assert [after(delayed(polyak(0.5), 2), step) for step in (1, 2, 3, 4)] == [2, 3, 2, 3]
    update = polyak(0.5)
    assert delayed(update, 1) is update


def test_a_period_counts_updates_whatever_the_delay():
    """Else only common multiples of the two would be left: 6 and 12 of 3, 6, 9 and 12."""
    for delay in (1, 2, 5):
        update = delayed(periodic(3), delay)
        assert [step for step in range(1, 14) if after(update, step) == 4] == [3, 6, 9, 12]


def test_numbers_out_of_range():
    with pytest.raises(ValueError, match=r"tau in 0\.\.1, got 1\.5"):
        polyak(1.5)
    with pytest.raises(ValueError, match="at least 1 update, got 0"):
        periodic(0)

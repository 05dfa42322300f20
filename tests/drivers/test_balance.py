"""The ratio is kept from both sides."""

import pytest

from jax_agents.drivers import Balance


def test_whoever_is_ahead_waits():
    balance = Balance(0.25, warmup_steps=10, slack=5)
    steps = updates = most_behind = 0
    for i in range(10_000):
        # actors that would be twice as fast as the learner
        if i % 3 and balance.may_act(steps, updates):
            steps += 8
        if i % 3 == 0 and balance.owed(steps, updates):
            updates += 1
        most_behind = max(most_behind, balance.owed(steps, updates))
    assert balance.owed(9, 0) == balance.owed(10, 0) == 0 and balance.owed(18, 0) == 2
    assert most_behind <= 5 + 2 and abs(updates - 0.25 * (steps - 10)) <= 8 and updates > 3_000


def test_actors_stay_near_the_learner_unless_told_otherwise():
    balance = Balance(0.5, warmup_steps=1_000)
    assert balance.may_act(1_000 + 2 * 64, 0) and not balance.may_act(1_000 + 2 * 65, 0)


@pytest.mark.parametrize("bad", [{"updates_per_step": 0.0}, {"warmup_steps": -1}, {"slack": 0}])
def test_numbers_out_of_range(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Balance(**({"updates_per_step": 1.0} | bad))

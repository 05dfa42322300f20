"""How fast a learner and its actors may go, compared with each other."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Balance:
    """Holds a learner to `updates_per_step` optimizer updates for each environment step, and actors
    to the learner's pace.

    Whoever is ahead waits: the learner for experience, and the actors once the learner is `slack`
    updates behind. Actors that run far ahead fill the buffer with what an older policy did, and
    more so the slower the learner is: a result that should not depend on the machine needs a small
    `slack`.

        for block in driver.poll(0.0 if balance.owed(steps, updates) else 0.1, start=balance.may_act(steps, updates)): ...

    Args:
      updates_per_step: the ratio.
      warmup_steps: steps before the first update, which bring none.
      slack: how many updates the learner may be behind when actors begin another slice. What they
        have begun already comes on top: `max_in_flight` slices of each.

    Raises:
      ValueError: for a number out of range.

    >>> balance = Balance(0.5, warmup_steps=100, slack=10)
    >>> balance.owed(steps=140, updates=0), balance.may_act(steps=140, updates=0), balance.may_act(steps=140, updates=10)
    (20, False, True)
    """

    updates_per_step: float
    warmup_steps: int = 0
    slack: int = 64

    def __post_init__(self):
        if not self.updates_per_step > 0 or self.warmup_steps < 0 or self.slack < 1:
            raise ValueError(
                f"expected updates_per_step > 0, warmup_steps >= 0 and slack >= 1, got {self}"
            )

    def owed(self, steps: int, updates: int) -> int:
        """How many updates the learner may make now, at least 0."""
        return max(0, int((steps - self.warmup_steps) * self.updates_per_step) - updates)

    def may_act(self, steps: int, updates: int) -> bool:
        """Whether actors may go on."""
        return self.owed(steps, updates) <= self.slack

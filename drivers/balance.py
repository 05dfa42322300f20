"""The pace of a learner and of its actors, each held to the other's."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Balance:
    """Holds a learner to a ratio of updates to environment steps, and actors to its pace.

    Whoever is ahead waits: the learner for experience, and the actors once the learner is `slack`
    updates behind. Actors that run far ahead fill the buffer with what an older policy did, and
    more so the slower the learner is: a result that should not depend on the machine needs a small
    `slack`.

        timeout = 0.0 if balance.owed(steps, updates) else 0.1
        for block in driver.poll(timeout, start=balance.may_act(steps, updates)):
            ...

    Args:
      updates_per_step: Number of updates for each environment step.
      warmup_steps: Number of steps before the first update, which bring none.
      slack: Number of updates that the learner may be behind when actors begin another slice. What
        they have begun already comes on top: `max_in_flight` slices of each.

    Raises:
      ValueError: if a number is out of range.

    >>> balance = Balance(0.5, warmup_steps=100, slack=10)
    >>> balance.owed(steps=140, updates=0)
    20
    >>> balance.may_act(steps=140, updates=0), balance.may_act(steps=140, updates=10)
    (False, True)
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
        """Returns the number of updates that the learner may make now, at least 0.

        Args:
          steps: Number of environment steps so far.
          updates: Number of updates so far.
        """
        return max(0, int((steps - self.warmup_steps) * self.updates_per_step) - updates)

    def may_act(self, steps: int, updates: int) -> bool:
        """Returns True if actors may go on; the arguments are those of `owed`."""
        return self.owed(steps, updates) <= self.slack

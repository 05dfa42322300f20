"""How fast a learner and its actors may go, compared with each other."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Balance:
    """Holds a learner to `updates_per_step` optimizer updates for each environment step, and actors to the learner's pace.

    Whoever is ahead waits: the learner for experience, and the actors once the learner is `slack` updates behind.

        for block in driver.poll(0.0 if balance.owed(steps, updates) else 0.1, start=balance.may_act(steps, updates)): ...

    Args:
      updates_per_step: the ratio.
      warmup_steps: steps before the first update, which bring none.
      slack: how far the learner may fall behind; what actors make in one slice, at least, if none is to wait.

    Raises:
      ValueError: for a number out of range.

    >>> balance = Balance(0.5, warmup_steps=100, slack=10)
    >>> balance.owed(steps=140, updates=0), balance.may_act(steps=140, updates=0), balance.may_act(steps=140, updates=10)
    (20, False, True)
    """

    updates_per_step: float
    warmup_steps: int = 0
    slack: int = 1_000

    def __post_init__(self):
        if not self.updates_per_step > 0 or self.warmup_steps < 0 or self.slack < 1:
            raise ValueError(f"expected updates_per_step > 0, warmup_steps >= 0 and slack >= 1, got {self}")

    def owed(self, steps: int, updates: int) -> int:
        """How many updates the learner may make now, at least 0."""
        return max(0, int((steps - self.warmup_steps) * self.updates_per_step) - updates)

    def may_act(self, steps: int, updates: int) -> bool:
        """Whether actors may go on."""
        return self.owed(steps, updates) <= self.slack

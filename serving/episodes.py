"""From what a client says about its episode to rows of experience."""

import jax
import numpy as np

from ..envs.time_step import restart, termination, transition, truncation
from ..envs.types import PolicyStep, TimeStep, Trajectory, Tree, make_row
from .wire import WireError


class EpisodeRecorder:
    """Makes rows (`envs.types`) of one episode that happens elsewhere: observations, the actions
    taken on them, and rewards.

    Row t is complete when what followed its action is known, so each call returns the rows that it
    completes. Rewards are summed from one observation to the next. An episode's end also makes the
    boundary row, of which no loss reads more than its observation; its action is the last one
    again.

        recorder = EpisodeRecorder()
        time_step, _ = recorder.observe(observation)        # act on it
        recorder.act(PolicyStep(action, (), info))
        recorder.reward(1.0)
        time_step, rows = recorder.observe(observation)     # row 0, complete now
    """

    def __init__(self) -> None:
        self.total_reward, self.num_steps = 0.0, 0
        self._reward = 0.0
        self._time_step: TimeStep | None = None
        self._policy_step: PolicyStep | None = None

    @property
    def acted(self) -> bool:
        """Whether the newest observation has had its action."""
        return self._policy_step is not None

    def observe(self, observation: Tree) -> tuple[TimeStep, list[Trajectory]]:
        """The time step of a new observation, to act on, and the row that it completes, if any."""
        if self._time_step is None:
            self._reward = 0.0  # earned by no action of this episode
            time_step = restart(observation)
        else:
            time_step = transition(np.float32(self._reward), observation)
        return time_step, self._follow(time_step)

    def act(self, policy_step: PolicyStep) -> None:
        """What was done on the newest observation: an action, and the policy's info to store with
        it.
        """
        self._policy_step = policy_step
        self.num_steps += 1

    def reward(self, reward: float) -> None:
        """Adds to what the newest action has earned; before the first action it counts nowhere.

        Raises:
          WireError: the sum is more than float32 can hold.
        """
        if not abs(self._reward + reward) <= float(np.finfo(np.float32).max):
            raise WireError(f"reward: {reward:g} makes a sum that float32 cannot hold")
        if self.acted:
            self._reward += reward
            self.total_reward += reward

    def end(self, observation: Tree, truncated: bool) -> list[Trajectory]:
        """The last observation of the episode; the rows that it completes: the last step's and the
        boundary row.

        Args:
          observation: what the last action led to.
          truncated: the episode was cut off, by a time limit say, and has a future that counts
            (discount 1); otherwise its task is over (discount 0).
        """
        last = (truncation if truncated else termination)(np.float32(self._reward), observation)
        before = self._policy_step
        rows = self._follow(last)
        if not rows or before is None:
            return []
        boundary = make_row(last, before, restart(observation))
        return [*rows, boundary]

    def _follow(self, time_step: TimeStep) -> list[Trajectory]:
        before, policy_step = self._time_step, self._policy_step
        self._time_step, self._policy_step, self._reward = time_step, None, 0.0
        if before is None or policy_step is None:
            return []
        return [jax.tree.map(np.asarray, make_row(before, policy_step, time_step))]

"""Rows of experience from what a client reports about its episode."""

from typing import NamedTuple

import jax
import numpy as np

from ..envs.time_step import restart, termination, transition, truncation
from ..envs.types import PolicyStep, TimeStep, Trajectory, Tree, make_row
from .messages import MAX_MAGNITUDE, MessageError


class LoggedAction(NamedTuple):
    """An action that was chosen elsewhere.

    Attributes:
      observation: Observation that the action was chosen for.
      action: Action.
      policy_info: Info that the policy would have stored with it; None if it is not known.
      reward: Reward that the action has earned so far.
    """

    observation: Tree
    action: Tree
    policy_info: Tree | None = None
    reward: float = 0.0


class EpisodeRecorder:
    """Makes rows (`envs.types`) of an episode that happens elsewhere.

    It takes observations, the actions on them, and rewards. Row t is complete when what followed
    its action is known, so each call returns the rows that it completes. Rewards are summed from
    one observation to the next. The end of an episode also makes the boundary row, of which no loss
    reads more than its observation; it repeats the last action.

        recorder = EpisodeRecorder()
        time_step, _ = recorder.observe(observation)        # act on it
        recorder.act(PolicyStep(action, (), info))
        recorder.reward(1.0)
        time_step, rows = recorder.observe(observation)     # row 0, complete now

    Args:
      max_reward: Greatest magnitude of the reward of a step.
    """

    def __init__(self, max_reward: float = MAX_MAGNITUDE) -> None:
        self.max_reward = max_reward
        self.total_reward = 0.0
        self.num_steps = 0
        self._reward = 0.0
        self._time_step: TimeStep | None = None
        self._policy_step: PolicyStep | None = None

    @property
    def acted(self) -> bool:
        """True if the newest observation has had its action."""
        return self._policy_step is not None

    def observe(self, observation: Tree) -> tuple[TimeStep, list[Trajectory]]:
        """Returns the time step to act on, and the row that the observation completes, if any."""
        if self._time_step is None:
            self._reward = 0.0  # earned by no action of this episode
            time_step = restart(observation)
        else:
            time_step = transition(observation, reward=np.float32(self._reward))
        return time_step, self._follow(time_step)

    def act(self, policy_step: PolicyStep) -> None:
        """Records the action on the newest observation, with the info to store with it."""
        self._policy_step = policy_step
        self.num_steps += 1

    def reward(self, reward: float) -> None:
        """Adds to the reward of the newest action; before the first action it is ignored.

        Raises:
          MessageError: if the sum is of too great a magnitude.
        """
        if not abs(self._reward + reward) <= self.max_reward:
            raise MessageError(
                f"reward: {reward:g} makes a sum of magnitude {abs(self._reward + reward):g}, "
                f"expected at most {self.max_reward:g} in a step; scale rewards"
            )
        if self.acted:
            self._reward += reward
            self.total_reward += reward

    def end(self, observation: Tree, truncated: bool) -> list[Trajectory]:
        """Ends the episode; returns the row of its last step and the boundary row.

        Args:
          observation: Last observation, which the last action led to.
          truncated: True if the episode was cut off, by a time limit say, and has a future that
            counts (discount 1); False if its task is over (discount 0).
        """
        end = truncation if truncated else termination
        last = end(observation, reward=np.float32(self._reward))
        before = self._policy_step
        rows = self._follow(last)
        if not rows or before is None:
            return []
        boundary = make_row(last, before, restart(observation))
        return [*rows, boundary]

    def _follow(self, time_step: TimeStep) -> list[Trajectory]:
        before = self._time_step
        policy_step = self._policy_step
        self._time_step = time_step
        self._policy_step = None
        self._reward = 0.0
        if before is None or policy_step is None:
            return []
        return [jax.tree.map(np.asarray, make_row(before, policy_step, time_step))]

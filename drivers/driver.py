"""The Python loop that steps a host environment and shows each row to observers."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from ..envs.checks import check_mask, check_time_step
from ..envs.environment import Environment
from ..envs.types import (
    PolicyStep,
    StepType,
    TimeStep,
    Trajectory,
    Tree,
    make_row,
    split_action_mask,
)
from ..policies.policy import Policy, act, check_acting, mismatch


class Driver:
    """Steps an environment with a policy; every run continues where the last one stopped.

    Observers get each row as NumPy, single or `[n]`, boundary rows (LAST -> FIRST) included; these
    are not counted as steps. The key of row r is `fold_in(key, r)`, for all n environments, where r
    counts the driver's rows from its first one.

    Args:
      env: Host environment, unbatched or of n environments.
      policy: Policy that acts.
      observers: Callables that take a row: `buffer.add`, a metric, any function.
      key: Typed key of the policy's draws; None is `jax.random.key(0)`.
      seed: Seed of the environment's first reset; None leaves it to the environment.

    Attributes:
      env: The environment.
      policy: The policy.
      observers: The observers.
      time_step: The last time step; None before the first run.
      policy_state: The policy's recurrent state for it.
      num_rows: Number of rows of all runs together, boundary rows included.
      num_steps: Number of environment steps, summed over environments.
      num_episodes: Number of episodes that ended, summed over environments, each counted with its
        boundary row.

    Raises:
      TypeError: if `env`, `policy` or `observers` is something else.
      SpecError: if the environment's specs are not in order.
    """

    def __init__(
        self,
        env: Environment,
        policy: Policy,
        observers: Sequence[Callable[[Trajectory], Any]] = (),
        *,
        key: jax.Array | None = None,
        seed: int | None = None,
    ):
        check_acting(env, policy)
        if callable(observers):
            raise TypeError(
                "observers: expected a list of functions of a row, such as [buffer.add], "
                "got a single one"
            )
        self.env = env
        self.policy = policy
        self.observers = tuple(observers)
        self.time_step: Any = None
        self.num_rows = 0
        self.num_steps = 0
        self.num_episodes = 0
        self._key = jax.random.key(0) if key is None else key
        self._seed = seed
        self._batch_shape = () if env.num_envs is None else (env.num_envs,)
        self.policy_state: Tree = ()

    def run(
        self,
        *,
        num_steps: int | None = None,
        num_episodes: int | None = None,
        num_rows: int | None = None,
        params: Tree = None,
    ) -> TimeStep:
        """Runs until the first of the given limits is reached.

        Args:
          num_steps: Number of environment steps, boundary rows not counted, summed over
            environments.
          num_episodes: Number of episodes that end, each counted with its boundary row, summed over
            environments.
          num_rows: Number of rows (batches of them), boundary rows counted.
          params: Parameters of the policy, `agent.policy_params(state)`.

        Returns:
          The time step where it stopped.

        Raises:
          ValueError: if no limit is given, or one is less than 1.
        """
        limits = {"num_steps": num_steps, "num_episodes": num_episodes, "num_rows": num_rows}
        given = {name: limit for name, limit in limits.items() if limit is not None}
        if not given or any(limit < 1 for limit in given.values()):
            raise ValueError(f"Driver.run: expected at least one limit of at least 1, got {limits}")
        stops = [(name, getattr(self, name) + limit) for name, limit in given.items()]
        self.start()
        while all(getattr(self, name) < stop for name, stop in stops):
            self.step(params)
        return self.time_step

    def start(self) -> tuple[TimeStep, Tree]:
        """Resets the environment if no run has done so.

        Returns:
          The time step to act on, and the policy's state.

        Raises:
          SpecError: if the first time step does not meet the environment's specs.
        """
        if self.time_step is None:
            time_step = self.env.reset(self._seed)
            check_time_step(time_step, self.env.specs, self._batch_shape, "reset")
            self.time_step = time_step
            self.policy_state = self.policy.initial_state(self._batch_shape)
        return self.time_step, self.policy_state

    def set_policy(self, policy: Policy, key: jax.Array) -> None:
        """Goes on with another policy, from its initial state.

        Args:
          policy: Policy that acts from now on.
          key: Typed key of its draws.
        """
        self.policy = policy
        self._key = key
        self.policy_state = policy.initial_state(self._batch_shape)

    def step(self, params: Tree = None) -> Trajectory:
        """Makes one row (a batch of n), shows it to the observers and returns it.

        Call `start` first.

        Args:
          params: Parameters of the policy.

        Raises:
          ValueError: if the policy cannot act with these parameters.
          SpecError: if the environment's action mask forbids every action where one is to be taken.
        """
        try:
            policy_step = act(
                self.policy,
                params,
                self.time_step,
                self.policy_state,
                self._key,
                np.int32(self.num_rows),
            )
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(mismatch(self.env, self.policy, params, error)) from error
        return self.take(policy_step)

    def take(self, policy_step: PolicyStep) -> Trajectory:
        """Makes the row of an action that was chosen already, as `step` does.

        It is for loops that fuse acting with training.

        Args:
          policy_step: Result of the policy for `time_step`.
        """
        mask = split_action_mask(self.time_step.observation)[1]
        if mask is not None:
            acting = np.asarray(self.time_step.step_type) != StepType.LAST
            check_mask(np.asarray(mask), self.env.specs.action, acting, f"row {self.num_rows}")
        self.policy_state = policy_step.state
        action, info = jax.tree.map(np.asarray, (policy_step.action, policy_step.info))
        next_time_step = self.env.step(action)
        row = make_row(
            self.time_step, policy_step._replace(action=action, info=info), next_time_step
        )
        self.time_step = next_time_step
        self.num_rows += 1
        boundaries = int(np.count_nonzero(row.is_last()))
        self.num_episodes += boundaries
        self.num_steps += (self._batch_shape[0] if self._batch_shape else 1) - boundaries
        for observer in self.observers:
            observer(row)
        return row

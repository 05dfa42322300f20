"""The Python loop that steps a host environment and shows each row to observers."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from ..envs.types import StepType, TimeStep, Trajectory, Tree, make_row, split_action_mask
from ..envs.validation import check_mask
from ..policies.policy import Policy, act, check_acting, mismatch


class Driver:
    """Steps an environment with a policy; every run continues where the last one stopped.

    Observers get each row as NumPy, single or `[n]`, boundary rows (LAST -> FIRST) included; these
    are not counted as steps. The key of row r is `fold_in(key, r)`, for all n environments, where r
    counts the driver's rows from its first one.

    Args:
      env: a host environment, unbatched or of n environments.
      policy: how to act.
      observers: callables that take a row: `buffer.add`, a metric, any function.
      key: the typed key of the policy's draws.
      seed: of the environment's first reset; None leaves it to the environment.

    Attributes:
      time_step: the last time step; None before the first run.
      policy_state: the policy's recurrent state for it.
      num_rows, num_steps, num_episodes: what all runs together have done; steps and episodes are
        summed over environments.

    Raises:
      TypeError: if `env`, `policy` or `observers` is something else.
    """

    def __init__(
        self,
        env: Any,
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
        self.num_rows = self.num_steps = self.num_episodes = 0
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
        """Runs until the first of the given limits is reached; returns the time step there.

        Args:
          num_steps: environment steps, boundary rows not counted, summed over environments.
          num_episodes: episodes that end, each counted with its boundary row, summed over
            environments.
          num_rows: rows (batches of them), boundary rows counted.
          params: what the policy needs, `agent.policy_params(state)`.

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
        """Resets the environment if no run has; returns the time step and the policy's state."""
        if self.time_step is None:
            self.time_step = self.env.reset(self._seed)
            self.policy_state = self.policy.initial_state(self._batch_shape)
        return self.time_step, self.policy_state

    def set_policy(self, policy: Policy, key: jax.Array) -> None:
        """Goes on with another policy, from its initial state, with a key of its own."""
        self.policy, self._key = policy, key
        self.policy_state = policy.initial_state(self._batch_shape)

    def step(self, params: Tree = None) -> Trajectory:
        """Makes one row (a batch of n), shows it to observers and returns it; call `start` first.

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

    def take(self, policy_step: Any) -> Trajectory:
        """Makes the row of an action that was chosen already, as `step` does; for loops that fuse
        acting with training.
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

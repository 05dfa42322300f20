"""The whole training loop of an on-policy agent on device: a pure function of a key, to jit and to
vmap.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from ..agents.agent import TrainState
from ..agents.on_policy import OnPolicyAgent
from ..drivers.rollout import RolloutState, rollout, start_rollout
from ..envs.types import Array, Trajectory, Tree, bootstrap_row
from .checks import check_loop
from .off_policy_scan import count_returns, iterations_per_report
from .shuffle import permutation


@struct.dataclass
class OnPolicyState:
    """Everything that changes in the loop; save it, and the loop resumes exactly."""

    train: TrainState
    rollout: RolloutState
    episode_return: Array  # of the unfinished episodes, float32 [num_envs]
    behaviour: Tree  # the last policy_lag parameters for acting, oldest first, [policy_lag, ...]
    key: Array  # of the permutations
    iteration: Array  # int32


@dataclasses.dataclass(frozen=True, eq=False)
class OnPolicyScan:
    """An on-policy agent and a JAX environment in one scan.

    One iteration makes `num_rows` rows in each environment, prepares a batch of them, and in each
    of `num_epochs` trains on all of it in a new random order, split into `num_minibatches`.
    Boundary rows (one an episode) count as rows.

    Args:
      agent: an on-policy agent; its collect policy acts.
      env: a JAX environment.
      num_envs: copies of it.
      num_rows: rows of an iteration in each environment.
      num_epochs: passes over a batch.
      num_minibatches: equal parts of a batch; an update for each. 1: no permutation is drawn.
      policy_lag: act with the parameters of so many iterations ago, as distributed actors do; for
        off-policy corrections.

    Raises:
      TypeError: if another loop is for this agent or environment.
      ValueError: if a number is too small. (`run` raises one if `num_minibatches` does not divide
        the batch.)
    """

    agent: OnPolicyAgent
    env: Any
    _: dataclasses.KW_ONLY
    num_envs: int = 8
    num_rows: int = 128
    num_epochs: int = 4
    num_minibatches: int = 4
    policy_lag: int = 0

    def __post_init__(self):
        check_loop(self.agent, self.env, on_policy=True, on_device=True)
        for name, least in {
            "num_envs": 1,
            "num_rows": 1,
            "num_epochs": 1,
            "num_minibatches": 1,
            "policy_lag": 0,
        }.items():
            if getattr(self, name) < least:
                raise ValueError(
                    f"OnPolicyScan: expected {name} >= {least}, got {getattr(self, name)}"
                )

    @property
    def rows_per_iteration(self) -> int:
        """Rows of an iteration in each environment; `num_rows` by the name that `OffPolicyScan` has
        for it.
        """
        return self.num_rows

    def init(self, key: Array) -> OnPolicyState:
        """A fresh agent, and environments at the start of an episode."""
        train_key, reset_key, act_key, key = jax.random.split(key, 4)
        train = self.agent.init(train_key)
        start = start_rollout(
            self.env, self.agent.collect_policy, reset_key, act_key, self.num_envs
        )
        params = self.agent.policy_params(train)
        behaviour = (
            jax.tree.map(lambda x: jnp.repeat(x[None], self.policy_lag, axis=0), params)
            if self.policy_lag
            else ()
        )
        return OnPolicyState(
            train,
            start,
            jnp.zeros((self.num_envs,), jnp.float32),
            behaviour,
            key,
            jnp.zeros((), jnp.int32),
        )

    def run(
        self, state: OnPolicyState, num_iterations: int, num_reports: int = 1
    ) -> tuple[OnPolicyState, dict[str, Array]]:
        """Runs iterations; N and then M of them are exactly N + M.

        Args:
          state: from `init` or an earlier run; donate it when jitting.
          num_iterations: iterations to run, a multiple of `num_reports`.
          num_reports: into how many equal parts to divide them; metrics are means over each.

        Returns:
          The state, and metrics `[num_reports]`: the agent's, `episodes` (that ended), and
            `episode_return` (their mean; NaN
          if none ended).

        Raises:
          ValueError: if `num_reports` does not divide `num_iterations`, or `num_minibatches` the
            batch.
        """
        part = iterations_per_report(num_iterations, num_reports)

        def report(state: OnPolicyState, _: None) -> tuple[OnPolicyState, dict[str, Array]]:
            state, metrics = jax.lax.scan(lambda s, _: self._iteration(s), state, length=part)
            episodes, returns = metrics.pop("episodes").sum(), metrics.pop("episode_return").sum()
            means = jax.tree.map(lambda x: x.mean(), metrics)
            return state, means | {"episodes": episodes, "episode_return": returns / episodes}

        return jax.lax.scan(report, state, length=num_reports)

    def _iteration(self, state: OnPolicyState) -> tuple[OnPolicyState, dict[str, Array]]:
        current = self.agent.policy_params(state.train)
        params, behaviour = self._behaviour(state.behaviour, current)
        new_rollout, rows = rollout(
            self.env, self.agent.collect_policy, params, state.rollout, self.num_rows
        )
        episode_return, returns, episodes = count_returns(state.episode_return, rows)
        last = bootstrap_row(new_rollout.time_step, jax.tree.map(lambda x: x[:, -1], rows))
        experience = jax.tree.map(lambda x, y: jnp.concatenate([x, y[:, None]], axis=1), rows, last)
        key = jax.random.fold_in(state.key, state.iteration)
        train, metrics = learn(
            self.agent, state.train, experience, key, self.num_epochs, self.num_minibatches
        )
        metrics = metrics | {"episode_return": returns, "episodes": episodes}
        return OnPolicyState(
            train, new_rollout, episode_return, behaviour, state.key, state.iteration + 1
        ), metrics

    def _behaviour(self, queue: Tree, current: Tree) -> tuple[Tree, Tree]:
        """The parameters to act with, and the queue for the next iteration."""
        if not self.policy_lag:
            return current, queue
        oldest = jax.tree.map(lambda x: x[0], queue)
        return oldest, jax.tree.map(lambda x, y: jnp.concatenate([x[1:], y[None]]), queue, current)


def learn(
    agent: OnPolicyAgent,
    state: TrainState,
    experience: Trajectory,
    key: Array,
    num_epochs: int = 1,
    num_minibatches: int = 1,
) -> tuple[TrainState, dict[str, Array]]:
    """What an on-policy agent learns from rows: `prepare` once, then `train` on parts of the batch,
    in every runner.

    Args:
      agent: an on-policy agent.
      state: its state.
      experience: rows `[B, T + 1, ...]`, of which row T only lends its observation.
      key: typed key of the permutations.
      num_epochs: passes over the batch, each in a new random order.
      num_minibatches: equal parts of the batch; an update for each. 1: no permutation is drawn.

    Returns:
      The new state, and the means of the updates' metrics.

    Raises:
      ValueError: if `num_minibatches` does not divide the batch.
    """
    state, batch = agent.prepare(state, experience)
    size = jax.tree.leaves(batch)[0].shape[0]
    if size % num_minibatches:
        rows = experience.step_type.shape[1] - 1
        raise ValueError(
            f"{num_minibatches=} does not divide the batch of {size} examples (from "
            f"{experience.step_type.shape[0]} "
            f"environments x {rows} rows); the remainder would be {size % num_minibatches}"
        )

    def update(state: TrainState, examples: Tree) -> tuple[TrainState, dict[str, Array]]:
        state, info = agent.train(state, examples)
        return state, info.metrics

    def epoch(state: TrainState, key: Array) -> tuple[TrainState, dict[str, Array]]:
        if num_minibatches == 1:
            return update(state, batch)
        order = permutation(key, size).reshape(num_minibatches, size // num_minibatches)
        return jax.lax.scan(
            lambda state, chosen: update(state, jax.tree.map(lambda x: x[chosen], batch)),
            state,
            order,
        )

    if num_epochs == 1:
        state, metrics = epoch(state, key)
    else:
        state, metrics = jax.lax.scan(epoch, state, jax.random.split(key, num_epochs))
    return state, jax.tree.map(lambda x: x.mean(), metrics)


def train_on_policy(
    agent: OnPolicyAgent,
    env: Any,
    key: Array,
    *,
    num_iterations: int,
    num_reports: int = 1,
    num_envs: int = 8,
    num_rows: int = 128,
    num_epochs: int = 4,
    num_minibatches: int = 4,
    policy_lag: int = 0,
) -> tuple[OnPolicyState, dict[str, Array]]:
    """Trains an on-policy agent from scratch: `OnPolicyScan.init`, then `OnPolicyScan.run`, as one
    pure function of `key`.

    Jit it, and vmap it over keys, or over any float hyperparameter of an agent that is built
    inside, as `train_on_device`. The arguments are those of `OnPolicyScan` and of its `run`.
    """
    loop = OnPolicyScan(
        agent,
        env,
        num_envs=num_envs,
        num_rows=num_rows,
        num_epochs=num_epochs,
        num_minibatches=num_minibatches,
        policy_lag=policy_lag,
    )
    return loop.run(loop.init(key), num_iterations, num_reports)

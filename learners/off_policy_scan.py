"""The whole training loop of an off-policy agent on device: a pure function of a key, to jit and to
vmap.
"""

import dataclasses
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from ..agents.agent import Agent, TrainState
from ..drivers.rollout import RolloutState, rollout, start_rollout
from ..envs.types import Array, StepType, Trajectory, Tree
from ..policies.policy import Policy
from ..policies.schedule import Schedule, value_at
from ..policies.simple import RandomPolicy
from ..replay.device.replay import DeviceReplay
from .checks import check_loop
from .prioritised import importance_weights


@struct.dataclass
class OffPolicyState:
    """Everything that changes in the loop; save it, and the loop resumes exactly."""

    train: TrainState
    rollout: RolloutState
    replay: Tree
    episode_return: Array  # of the unfinished episodes, float32 [num_envs]
    key: Array  # of the draws from replay
    iteration: Array  # int32


@dataclasses.dataclass(frozen=True, eq=False)
class OffPolicyScan:
    """An off-policy agent, a JAX environment and a replay buffer in one scan.

    One iteration makes `rows_per_iteration` rows in each environment, then draws
    `updates_per_iteration` batches and trains on each. Boundary rows (one an episode) count as rows
    here.

    Args:
      agent: an off-policy agent; its collect policy acts.
      env: a JAX environment.
      num_envs: copies of it.
      rows_per_iteration: rows made in each environment before the updates of an iteration.
      updates_per_iteration: optimizer updates of an iteration.
      batch_size: windows in a batch.
      capacity: rows of replay, of all environments together.
      warmup_rows: rows made in each environment, before the first iteration, by `warmup_policy`.
      warmup_policy: uniformly random actions where None.
      priority_exponent: None for uniform replay, else the exponent alpha of prioritised replay
        (Schaul et al. 2016).
      importance_exponent: beta of the importance weights of prioritised replay; a float, or a
        schedule of the update count.

    Raises:
      TypeError: if another loop is for this agent or environment.
      ValueError: if a number is less than 1, or the warm-up is too short for one window.
    """

    agent: Agent
    env: Any
    _: dataclasses.KW_ONLY
    num_envs: int = 1
    rows_per_iteration: int = 1
    updates_per_iteration: int = 1
    batch_size: int = 64
    capacity: int = 100_000
    warmup_rows: int = 1_000
    warmup_policy: Policy | None = None
    priority_exponent: float | None = None
    importance_exponent: float | Schedule = 0.4

    def __post_init__(self):
        check_loop(self.agent, self.env, on_policy=False, on_device=True)
        for name in ("num_envs", "rows_per_iteration", "updates_per_iteration", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"OffPolicyScan: expected {name} >= 1, got {getattr(self, name)}")
        if self.warmup_rows < self.buffer.sequence_length:
            raise ValueError(
                f"OffPolicyScan: warmup_rows={self.warmup_rows} hold no window of "
                f"{self.buffer.sequence_length} rows; "
                f"use at least {self.buffer.sequence_length}"
            )

    @cached_property
    def buffer(self) -> DeviceReplay:
        """The replay buffer, whose state is `OffPolicyState.replay`."""
        return DeviceReplay(
            self.agent.collect_data_spec,
            self.capacity,
            sequence_length=self.agent.train_sequence_length or 2,
            num_envs=self.num_envs,
            priority_exponent=self.priority_exponent,
        )

    def init(self, key: Array) -> OffPolicyState:
        """A fresh agent, and a buffer with the warm-up's rows."""
        train_key, reset_key, act_key, warmup_key, replay_key = jax.random.split(key, 5)
        train = self.agent.init(train_key)
        policy = (
            RandomPolicy(self.agent.specs.action)
            if self.warmup_policy is None
            else self.warmup_policy
        )
        params = self.agent.policy_params(train)
        start = start_rollout(self.env, policy, reset_key, warmup_key, self.num_envs)
        replay, block = (
            self.buffer.init(),
            min(self.warmup_rows, self.capacity // self.num_envs, 256),
        )
        episode_return = jnp.zeros((self.num_envs,), jnp.float32)

        def warm_up(carry: tuple, num_rows: int) -> tuple[tuple, None]:
            state, replay, episode_return = carry
            state, rows = rollout(self.env, policy, params, state, num_rows)
            episode_return, _, _ = count_returns(episode_return, rows)
            return (state, self.buffer.add(replay, rows), episode_return), None

        carry = (start, replay, episode_return)
        carry, _ = jax.lax.scan(
            lambda carry, _: warm_up(carry, block), carry, length=self.warmup_rows // block
        )
        if self.warmup_rows % block:
            carry, _ = warm_up(carry, self.warmup_rows % block)
        state, replay, episode_return = carry
        policy_state = self.agent.collect_policy.initial_state((self.num_envs,))
        state = dataclasses.replace(state, policy_state=policy_state, key=act_key)
        return OffPolicyState(
            train, state, replay, episode_return, replay_key, jnp.zeros((), jnp.int32)
        )

    def run(
        self, state: OffPolicyState, num_iterations: int, num_reports: int = 1
    ) -> tuple[OffPolicyState, dict[str, Array]]:
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
          ValueError: if `num_reports` does not divide `num_iterations`.
        """
        part = iterations_per_report(num_iterations, num_reports)
        shapes = jax.eval_shape(self._iteration, state)[1]
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

        def add_up(_: Array, carry: tuple) -> tuple:
            state, total = carry
            state, metrics = self._iteration(state)
            return state, jax.tree.map(jnp.add, total, metrics)

        def report(state: OffPolicyState, _: None) -> tuple[OffPolicyState, dict[str, Array]]:
            state, total = jax.lax.fori_loop(0, part, add_up, (state, zeros))
            episodes, returns = total.pop("episodes"), total.pop("episode_return")
            means = {name: value / part for name, value in total.items()}
            return state, means | {"episodes": episodes, "episode_return": returns / episodes}

        return jax.lax.scan(report, state, length=num_reports)

    def _iteration(self, state: OffPolicyState) -> tuple[OffPolicyState, dict[str, Array]]:
        params = self.agent.policy_params(state.train)
        new_rollout, rows = rollout(
            self.env, self.agent.collect_policy, params, state.rollout, self.rows_per_iteration
        )
        replay = self.buffer.add(state.replay, rows)
        episode_return, returns, episodes = count_returns(state.episode_return, rows)
        key = jax.random.fold_in(state.key, state.iteration)

        def update(carry: tuple, index: Array) -> tuple[tuple, dict[str, Array]]:
            train, replay = carry
            sample = self.buffer.sample(replay, jax.random.fold_in(key, index), self.batch_size)
            if self.priority_exponent is None:
                train, info = self.agent.train(train, sample.experience)
                return (train, replay), info.metrics
            beta = value_at(self.importance_exponent, train.step)
            masked = sample.experience.is_last()[:, 0]
            weights = importance_weights(
                sample.info.probability, sample.info.table_size, beta, masked
            )
            train, info = self.agent.train(train, sample.experience, weights)
            priorities = jnp.abs(info.per_example["td_error"]) + 1e-6
            return (
                train,
                self.buffer.update_priorities(replay, sample.info.key, priorities),
            ), info.metrics

        if self.updates_per_iteration == 1:
            (train, replay), metrics = update((state.train, replay), jnp.zeros((), jnp.int32))
        else:
            steps = jnp.arange(self.updates_per_iteration)
            (train, replay), metrics = jax.lax.scan(update, (state.train, replay), steps)
            metrics = jax.tree.map(lambda x: x.mean(axis=0), metrics)
        metrics = metrics | {"episode_return": returns, "episodes": episodes}
        return OffPolicyState(
            train, new_rollout, replay, episode_return, state.key, state.iteration + 1
        ), metrics


def train_on_device(
    agent: Agent,
    env: Any,
    key: Array,
    *,
    num_iterations: int,
    num_reports: int = 1,
    num_envs: int = 1,
    rows_per_iteration: int = 1,
    updates_per_iteration: int = 1,
    batch_size: int = 64,
    capacity: int = 100_000,
    warmup_rows: int = 1_000,
    warmup_policy: Policy | None = None,
    priority_exponent: float | None = None,
    importance_exponent: float | Schedule = 0.4,
) -> tuple[OffPolicyState, dict[str, Array]]:
    """Trains an off-policy agent from scratch: `OffPolicyScan.init`, then `OffPolicyScan.run`, as
    one pure function of `key`.

    Jit it, and vmap it over keys, or over any float hyperparameter of an agent that is built
    inside:

        def experiment(key, learning_rate):
            agent = DqnAgent(env.specs, QNetwork(2), optax.adam(learning_rate))
            return train_on_device(agent, env, key, num_iterations=10_000)

        state, metrics = jax.jit(jax.vmap(experiment))(jax.random.split(key, 3), jnp.array([1e-4, 1e-3, 1e-2]))

    The arguments are those of `OffPolicyScan` and of its `run`.
    """
    loop = OffPolicyScan(
        agent,
        env,
        num_envs=num_envs,
        rows_per_iteration=rows_per_iteration,
        updates_per_iteration=updates_per_iteration,
        batch_size=batch_size,
        capacity=capacity,
        warmup_rows=warmup_rows,
        warmup_policy=warmup_policy,
        priority_exponent=priority_exponent,
        importance_exponent=importance_exponent,
    )
    return loop.run(loop.init(key), num_iterations, num_reports)


def iterations_per_report(num_iterations: int, num_reports: int) -> int:
    """How many iterations of a loop's `run` each of its reports is about.

    Raises:
      ValueError: if a number is less than 1, or `num_reports` does not divide `num_iterations`.
    """
    if num_iterations < 1 or num_reports < 1 or num_iterations % num_reports:
        raise ValueError(
            f"expected num_iterations to be a positive multiple of {num_reports=}, got "
            f"{num_iterations}"
        )
    return num_iterations // num_reports


def count_returns(episode_return: Array, rows: Trajectory) -> tuple[Array, Array, Array]:
    """Adds rows `[B, T]` to the running returns `[B]`; also the sum of the returns that are
    complete, and their number.
    """

    def add(running: Array, row: Trajectory) -> tuple[Array, tuple[Array, Array]]:
        running = jnp.where(row.is_last(), 0.0, running + row.reward)
        ended = row.next_step_type == StepType.LAST
        return running, (jnp.sum(jnp.where(ended, running, 0.0)), jnp.sum(ended))

    if rows.reward.shape[1] == 1:
        running, (total, count) = add(episode_return, jax.tree.map(lambda x: x[:, 0], rows))
        return running, total, count
    running, (total, count) = jax.lax.scan(
        add, episode_return, jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), rows)
    )
    return running, total.sum(), count.sum()

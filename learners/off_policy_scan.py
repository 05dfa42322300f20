"""The loop of an off-policy agent on device."""

import dataclasses
from collections.abc import Callable
from functools import cached_property

import jax
import jax.numpy as jnp
from flax import struct

from ..agents.agent import Agent, TrainState, warm_up_policy
from ..drivers.rollout import RolloutState, rollout, start_rollout
from ..envs.environment import JaxEnvironment
from ..envs.types import Array, Tree
from ..metrics.counting import count_rows
from ..policies.policy import Policy
from ..policies.schedule import Schedule
from ..replay.device.replay import DeviceReplay
from .checks import check_loop
from .prioritised import replay_update
from .scan import Scan, ScanState

_WARMUP_BLOCK = 256  # rows that the warm-up makes at once


@struct.dataclass
class OffPolicyState(ScanState):
    """Everything that changes in an `OffPolicyScan`.

    Attributes:
      rollout: Where the environments stand.
      replay: State of the replay buffer.
      episode_return: Returns so far of the unfinished episodes, float32 `[num_envs]`.
      episode_length: Their lengths so far in steps, int32 `[num_envs]`.
      credit: Number of environment steps that no update was made for, times
        `updates_per_iteration`, int32; negative while the warm-up lasts. It stays 0 where
        `steps_per_iteration` is None.
    """

    rollout: RolloutState
    replay: Tree
    episode_return: Array
    episode_length: Array
    credit: Array


@dataclasses.dataclass(frozen=True, eq=False)
class OffPolicyScan(Scan[OffPolicyState]):
    """An off-policy agent, a JAX environment and a replay buffer in one scan.

    One iteration makes `rows_per_iteration` rows in each environment, then draws
    `updates_per_iteration` batches and trains on each. With `steps_per_iteration` the number of
    updates follows the number of rows that are steps, as in `OffPolicyLoop`.

    Args:
      agent: Off-policy agent; its collect policy acts.
      env: JAX environment.
      num_envs: Number of copies of the environment.
      rows_per_iteration: Number of rows that an iteration makes in each environment before its
        updates.
      updates_per_iteration: Number of updates of an iteration, or of `steps_per_iteration` steps.
      steps_per_iteration: Number of environment steps, summed over environments, that bring
        `updates_per_iteration` updates; what is left over counts for the next iteration. The first
        come when there were `warmup_rows` x `num_envs` steps. None for the updates after every
        iteration, however many of its rows are boundary rows.
      batch_size: Number of windows in a batch.
      capacity: Number of rows that the replay buffer holds, of all environments together.
      warmup_rows: Number of rows that are made in each environment before the first iteration.
      warmup_policy: Policy that makes the rows of the warm-up; None for `agents.warm_up_policy`,
        which acts uniformly at random if the agent can learn from that.
      priority_exponent: Exponent alpha of prioritised replay (Schaul et al. 2016); None for uniform
        replay.
      importance_exponent: Exponent beta of the importance weights of prioritised replay; a float,
        or a schedule of the update count.

    Raises:
      TypeError: if another loop is for this agent or environment.
      ValueError: if a number is less than 1, or the warm-up is too short for one window.
    """

    agent: Agent
    env: JaxEnvironment
    _: dataclasses.KW_ONLY
    num_envs: int = 1
    rows_per_iteration: int = 1
    updates_per_iteration: int = 1
    steps_per_iteration: int | None = None
    batch_size: int = 64
    capacity: int = 100_000
    warmup_rows: int = 1_000
    warmup_policy: Policy | None = None
    priority_exponent: float | None = None
    importance_exponent: float | Schedule = 0.4

    def __post_init__(self):
        check_loop(self.agent, self.env, on_policy=False, on_device=True)
        self._check_at_least(
            1, "num_envs", "rows_per_iteration", "updates_per_iteration", "batch_size"
        )
        if self.steps_per_iteration is not None:
            self._check_at_least(1, "steps_per_iteration")
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
        """Returns the state with a fresh agent and a buffer that has the rows of the warm-up."""
        train_key, reset_key, act_key, warmup_key, replay_key = jax.random.split(key, 5)
        train = self.agent.init(train_key)
        policy = self.warmup_policy or warm_up_policy(self.agent)
        params = self.agent.policy_params(train)
        start = start_rollout(self.env, policy, reset_key, warmup_key, self.num_envs)
        zero = jnp.zeros((), jnp.int32)
        state = OffPolicyState(
            train=train,
            key=replay_key,
            iteration=zero,
            num_steps=zero,
            rollout=start,
            replay=self.buffer.init(),
            episode_return=jnp.zeros((self.num_envs,), jnp.float32),
            episode_length=jnp.zeros((self.num_envs,), jnp.int32),
            credit=zero,
        )
        block = min(self.warmup_rows, self.capacity // self.num_envs, _WARMUP_BLOCK)
        state, _ = jax.lax.scan(
            lambda state, _: (self._act(state, policy, params, block)[0], None),
            state,
            length=self.warmup_rows // block,
        )
        if self.warmup_rows % block:
            state, _ = self._act(state, policy, params, self.warmup_rows % block)
        policy_state = self.agent.collect_policy.initial_state((self.num_envs,))
        acting = dataclasses.replace(state.rollout, policy_state=policy_state, key=act_key)
        credit = zero
        if self.steps_per_iteration is not None:
            ahead = state.num_steps - self.warmup_rows * self.num_envs
            credit = ahead * self.updates_per_iteration
        return dataclasses.replace(state, rollout=acting, credit=credit)

    def iteration(self, state: OffPolicyState) -> tuple[OffPolicyState, dict[str, Array]]:
        """Makes rows with the collect policy, then trains on batches from replay."""
        params = self.agent.policy_params(state.train)
        policy = self.agent.collect_policy
        steps_before = state.num_steps
        state, counts = self._act(state, policy, params, self.rows_per_iteration)
        key = jax.random.fold_in(state.key, state.iteration)

        def update(carry: tuple, index: Array) -> tuple[tuple, dict[str, Array]]:
            train, replay = carry
            return self._update(train, replay, jax.random.fold_in(key, index))

        carry = (state.train, state.replay)
        credit = state.credit
        if self.steps_per_iteration is not None:
            credit += (state.num_steps - steps_before) * self.updates_per_iteration
            due = jnp.maximum(credit // self.steps_per_iteration, 0)
            credit -= due * self.steps_per_iteration
            (train, replay), metrics = _repeat(update, carry, due)
        elif self.updates_per_iteration == 1:
            (train, replay), metrics = update(carry, jnp.zeros((), jnp.int32))
        else:
            (train, replay), metrics = jax.lax.scan(
                update, carry, jnp.arange(self.updates_per_iteration)
            )
            metrics = jax.tree.map(lambda x: x.mean(axis=0), metrics)
        iteration = state.iteration + 1
        state = dataclasses.replace(
            state, train=train, replay=replay, iteration=iteration, credit=credit
        )
        return state, metrics | counts

    def _act(
        self, state: OffPolicyState, policy: Policy, params: Tree, num_rows: int
    ) -> tuple[OffPolicyState, dict[str, Array]]:
        """Makes rows and stores them; also returns what ended in them."""
        new_rollout, rows = rollout(self.env, policy, params, state.rollout, num_rows)
        replay = self.buffer.add(state.replay, rows)
        episode_return, episode_length, counts = count_rows(
            state.episode_return, state.episode_length, rows
        )
        state = dataclasses.replace(
            state,
            rollout=new_rollout,
            replay=replay,
            episode_return=episode_return,
            episode_length=episode_length,
            num_steps=state.num_steps + counts.steps,
        )
        return state, counts.metrics()

    def _update(
        self, train: TrainState, replay: Tree, key: Array
    ) -> tuple[tuple[TrainState, Tree], dict[str, Array]]:
        experience, info = self.buffer.sample(replay, key, self.batch_size)
        draws = None
        if self.priority_exponent is not None:
            draws = (info.probability, info.table_size)
        train, loss, priorities = replay_update(
            self.agent.train, train, experience, draws, self.importance_exponent
        )
        if priorities is not None:
            replay = self.buffer.update_priorities(replay, info.key, priorities)
        return (train, replay), loss.metrics


def _repeat(
    update: Callable[[tuple, Array], tuple[tuple, dict[str, Array]]], carry: tuple, count: Array
) -> tuple[tuple, dict[str, Array]]:
    """Makes a number of updates that is known only when they are due; also returns mean metrics."""
    update = jax.jit(update, inline=True)  # what is traced here is not traced again
    shapes = jax.eval_shape(update, carry, count)[1]
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    def add_up(index: Array, sums: tuple) -> tuple:
        carry, total = sums
        carry, metrics = update(carry, index)
        return carry, jax.tree.map(jnp.add, total, metrics)

    carry, total = jax.lax.fori_loop(0, count, add_up, (carry, zeros))
    return carry, jax.tree.map(lambda x: x / jnp.maximum(count, 1), total)

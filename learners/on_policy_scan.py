"""The loop of an on-policy agent on device."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct

from ..agents.agent import TrainState
from ..agents.on_policy import OnPolicyAgent
from ..drivers.rollout import RolloutState, rollout, start_rollout
from ..envs.environment import JaxEnvironment
from ..envs.types import Array, Trajectory, Tree, bootstrap_row
from ..metrics.counting import count_rows
from .checks import check_loop
from .scan import Scan, ScanState
from .sharding import split_evenly
from .shuffle import permutation


@struct.dataclass
class OnPolicyState(ScanState):
    """Everything that changes in an `OnPolicyScan`.

    Attributes:
      rollout: Where the environments stand.
      episode_return: Returns so far of the unfinished episodes, float32 `[num_envs]`.
      episode_length: Their lengths so far in steps, int32 `[num_envs]`.
      behaviour: Parameters for acting of the last `policy_lag` iterations, oldest first,
        `[policy_lag, ...]`; an empty tuple where the lag is 0.
    """

    rollout: RolloutState
    episode_return: Array
    episode_length: Array
    behaviour: Tree


@dataclasses.dataclass(frozen=True, eq=False)
class OnPolicyScan(Scan[OnPolicyState]):
    """An on-policy agent and a JAX environment in one scan.

    One iteration makes `num_rows` rows in each environment, prepares a batch of them, and in each
    of `num_epochs` trains on all of it in a new random order, split into `num_minibatches`.

    Args:
      agent: On-policy agent; its collect policy acts.
      env: JAX environment.
      num_envs: Number of copies of the environment.
      num_rows: Number of rows of an iteration in each environment.
      num_epochs: Number of passes over a batch.
      num_minibatches: Number of equal parts of a batch, with an update for each. With 1 no
        permutation is drawn.
      policy_lag: Number of iterations by which the parameters that act are older than those that
        are trained, as in distributed actors; for off-policy corrections.

    Raises:
      TypeError: if another loop is for this agent or environment.
      ValueError: if a number is too small. (`run` raises one if `num_minibatches` does not divide
        the batch.)
    """

    agent: OnPolicyAgent
    env: JaxEnvironment
    _: dataclasses.KW_ONLY
    num_envs: int = 8
    num_rows: int = 128
    num_epochs: int = 4
    num_minibatches: int = 4
    policy_lag: int = 0

    def __post_init__(self):
        check_loop(self.agent, self.env, on_policy=True, on_device=True)
        self._check_at_least(1, "num_envs", "num_rows", "num_epochs", "num_minibatches")
        self._check_at_least(0, "policy_lag")

    @property
    def rows_per_iteration(self) -> int:
        """The number of rows of an iteration in each environment, `num_rows`."""
        return self.num_rows

    def init(self, key: Array) -> OnPolicyState:
        """Returns the state with a fresh agent, and environments at the start of an episode."""
        train_key, reset_key, act_key, key = jax.random.split(key, 4)
        train = self.agent.init(train_key)
        start = start_rollout(
            self.env, self.agent.collect_policy, reset_key, act_key, self.num_envs
        )
        behaviour: Tree = ()
        if self.policy_lag:
            params = self.agent.policy_params(train)
            behaviour = jax.tree.map(lambda x: jnp.repeat(x[None], self.policy_lag, axis=0), params)
        zero = jnp.zeros((), jnp.int32)
        return OnPolicyState(
            train=train,
            key=key,
            iteration=zero,
            num_steps=zero,
            rollout=start,
            episode_return=jnp.zeros((self.num_envs,), jnp.float32),
            episode_length=jnp.zeros((self.num_envs,), jnp.int32),
            behaviour=behaviour,
        )

    def iteration(self, state: OnPolicyState) -> tuple[OnPolicyState, dict[str, Array]]:
        """Makes rows with the collect policy, then learns from them.

        Raises:
          ValueError: if `num_minibatches` does not divide the batch.
        """
        current = self.agent.policy_params(state.train)
        params, behaviour = self._behaviour(state.behaviour, current)
        new_rollout, rows = rollout(
            self.env, self.agent.collect_policy, params, state.rollout, self.num_rows
        )
        episode_return, episode_length, counts = count_rows(
            state.episode_return, state.episode_length, rows
        )
        last = bootstrap_row(new_rollout.time_step, jax.tree.map(lambda x: x[:, -1], rows))
        experience = jax.tree.map(lambda x, y: jnp.concatenate([x, y[:, None]], axis=1), rows, last)
        key = jax.random.fold_in(state.key, state.iteration)
        train, metrics = learn(
            self.agent, state.train, experience, key, self.num_epochs, self.num_minibatches
        )
        state = OnPolicyState(
            train=train,
            key=state.key,
            iteration=state.iteration + 1,
            num_steps=state.num_steps + counts.steps,
            rollout=new_rollout,
            episode_return=episode_return,
            episode_length=episode_length,
            behaviour=behaviour,
        )
        return state, metrics | counts.metrics()

    def _behaviour(self, queue: Tree, current: Tree) -> tuple[Tree, Tree]:
        """Returns the parameters to act with, and the queue for the next iteration."""
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
    """Trains an on-policy agent on rows: `prepare` once, then `train` on parts of the batch.

    Every runner of on-policy agents learns by this function.

    Args:
      agent: On-policy agent.
      state: State of the agent.
      experience: Rows `[B, T + 1, ...]`, of which row T only lends its observation.
      key: Typed key of the permutations.
      num_epochs: Number of passes over the batch, each in a new random order.
      num_minibatches: Number of equal parts of the batch, with an update for each. With 1 no
        permutation is drawn.

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
        order = split_evenly(permutation(key, size), num_minibatches)
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

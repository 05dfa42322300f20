"""The tutorial's loop - act, store, sample, train - with training and the next action in one
compiled call.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..agents.agent import Agent, TrainState
from ..drivers.driver import Driver
from ..envs.types import Array, PolicyStep, TimeStep, Trajectory, Tree
from ..policies.policy import act
from ..policies.schedule import Schedule
from ..policies.simple import RandomPolicy
from ..replay.replay import Replay, is_prioritised
from .checks import check_loop
from .compiling import compile_ahead, compiler_options, initial_state
from .packed import PackedTree
from .prioritised import replay_update
from .sharding import split_evenly

_Packed = tuple[list[Array], list[Array]]  # the training state, and the sums of its metrics


class OffPolicyLoop:
    """An off-policy agent in a Python loop over a host environment.

    One iteration is `driver.run(num_steps=...)`, `next(dataset)`, `agent.train(...)`, and computes
    exactly what these would: it only hands over fewer, larger pieces. The state travels as a few
    vectors, and one call trains and chooses the next action.

    Args:
      agent: an off-policy agent.
      env: a host environment, unbatched or of n environments.
      buffer: replay of `agent.train_sequence_length` rows; the driver's rows are added to it.
      batch_size: windows in a batch.
      steps_per_iteration: environment steps before the updates of an iteration (summed over
        environments).
      updates_per_iteration: optimizer updates of an iteration, each on a batch of its own; all are
        drawn before the first.
      importance_exponent: beta of the importance weights where the buffer is prioritised; a float,
        or a schedule of the update count.
      observers: see each row, after the buffer.
      metrics: names of the agent's metrics that `run` returns, None for all. What is not asked for
        is not computed: without "grad_norm" an update of SAC with 256-256 networks takes 3 % less
        time.
      key: typed key of the run; `state` brings its own training key.
      seed: of the environment's first reset.
      state: to continue with; None starts afresh.

    Raises:
      TypeError: if another loop is for this agent or environment.
      ValueError: if a number is less than 1, or a name in `metrics` is unknown.
    """

    def __init__(
        self,
        agent: Agent,
        env: Any,
        buffer: Replay,
        *,
        batch_size: int = 64,
        steps_per_iteration: int = 1,
        updates_per_iteration: int = 1,
        importance_exponent: float | Schedule = 0.4,
        observers: Sequence[Callable[[Trajectory], Any]] = (),
        metrics: Sequence[str] | None = None,
        key: Array,
        seed: int | None = None,
        state: TrainState | None = None,
    ):
        check_loop(agent, env, on_policy=False, on_device=False)
        if min(batch_size, steps_per_iteration, updates_per_iteration) < 1:
            raise ValueError(
                f"expected at least 1: {batch_size=}, {steps_per_iteration=}, "
                f"{updates_per_iteration=}"
            )
        train_key, self._act_key, self._warm_up_key = jax.random.split(key, 3)
        self.agent = agent
        self.buffer = buffer
        self.driver = Driver(
            env, agent.collect_policy, (buffer.add, *observers), key=self._act_key, seed=seed
        )
        self._steps, self._updates, self._batch_size = (
            steps_per_iteration,
            updates_per_iteration,
            batch_size,
        )
        self._beta = importance_exponent
        self._prioritised = buffer if is_prioritised(buffer) else None
        like = jax.eval_shape(agent.init, train_key) if state is None else state
        self._train = jax.jit(agent.train, inline=True)  # what is traced here is not traced again
        computed = jax.eval_shape(self._train, like, self._batch(batch_size), None)[1].metrics
        wanted = tuple(computed if metrics is None else metrics)
        if unknown := set(wanted) - set(computed):
            raise ValueError(
                f"metrics: expected some of {', '.join(computed)}, got {', '.join(sorted(unknown))}"
            )
        self._packing, self._totals = (
            PackedTree(like, largest=16_384),
            PackedTree({name: computed[name] for name in wanted}),
        )
        # Copies, since `jit` returns an array that it only passes on as it is, and the loop donates
        # its own.
        self._pack = jax.jit(lambda state: [jnp.copy(x) for x in self._packing.pack(state)])
        self._unpack = jax.jit(lambda packed: jax.tree.map(jnp.copy, self._packing.unpack(packed)))
        options = compiler_options(like.params, batch_size)
        self._train_and_act = jax.jit(self._train_and_act_packed, donate_argnums=0, **options)
        self._act = jax.jit(self._act_packed, **options)
        self._compiling = self._compile(like)
        self.state = initial_state(agent, train_key) if state is None else state
        self._dataset: Any = None
        self._random_policy = RandomPolicy(agent.specs.action)  # one, since each would be compiled

    @property
    def state(self) -> TrainState:
        """The training state: a copy, which the loop does not touch."""
        return self._unpack(self._packed[0])

    @state.setter
    def state(self, state: TrainState) -> None:
        self._packed = (self._pack(state), jax.device_put(self._totals.zeros()))

    def warm_up(self, num_steps: int) -> None:
        """Fills the buffer with `num_steps` environment steps of uniformly random actions."""
        self.driver.set_policy(self._random_policy, self._warm_up_key)
        self.driver.run(num_steps=num_steps)

    def run(self, num_iterations: int) -> dict[str, float]:
        """Runs iterations, and returns the means of the agent's metrics over them.

        Raises:
          ValueError: if `num_iterations` is less than 1.
          TimeoutError: if the buffer cannot give a batch; the message shows its state.
        """
        if num_iterations < 1:
            raise ValueError(f"num_iterations: expected at least 1, got {num_iterations}")
        driver = self.driver
        if driver.policy is not self.agent.collect_policy:
            driver.set_policy(self.agent.collect_policy, self._act_key)
        time_step, policy_state = driver.start()
        if self._dataset is None:
            self._dataset = self.buffer.as_dataset(self._batch_size * self._updates)
        policy_step = self._act(self._packed[0], time_step, policy_state, np.int32(driver.num_rows))
        self._compiling.join()
        for _ in range(num_iterations):
            stop = driver.num_steps + self._steps
            driver.take(policy_step)
            while driver.num_steps < stop:
                policy_step = self._act(
                    self._packed[0],
                    driver.time_step,
                    driver.policy_state,
                    np.int32(driver.num_rows),
                )
                driver.take(policy_step)
            experience, info = next(self._dataset)
            draws = (info.probability, info.table_size) if self._prioritised is not None else None
            self._packed, policy_step, priorities = self._train_and_act(
                self._packed,
                experience,
                draws,
                driver.time_step,
                driver.policy_state,
                np.int32(driver.num_rows),
            )
            if self._prioritised is not None:
                self._prioritised.update_priorities(info.key, np.asarray(priorities))
        state, totals = self._packed
        self._packed = (state, jax.device_put(self._totals.zeros()))
        totals = self._totals.unpack(jax.device_get(totals))
        return {
            name: float(total) / (num_iterations * self._updates) for name, total in totals.items()
        }

    def _rows(self, *leading: int) -> Trajectory:
        return jax.tree.map(
            lambda s: jax.ShapeDtypeStruct((*leading, *s.shape), s.dtype),
            self.agent.collect_data_spec,
        )

    def _batch(self, size: int) -> Trajectory:
        return self._rows(size, self.agent.train_sequence_length or 2)

    def _compile(self, state: TrainState) -> threading.Thread:
        """Begins to compile the call that trains, for which the first iteration would wait, while
        the state is made.
        """
        packed = (jax.eval_shape(self._pack, state), self._totals.zeros())
        num_drawn, num_envs = self._batch_size * self._updates, self.driver.env.num_envs
        shape = () if num_envs is None else (num_envs,)
        row = self._rows(*shape)
        time_step = TimeStep(row.step_type, row.reward, row.discount, row.observation)
        policy_state = self.agent.collect_policy.initial_state(shape)
        draws = (
            (np.zeros(num_drawn), np.zeros(num_drawn, int))
            if self._prioritised is not None
            else None
        )
        return compile_ahead(
            self._train_and_act,
            packed,
            self._batch(num_drawn),
            draws,
            time_step,
            policy_state,
            np.int32(0),
        )

    def _act_packed(
        self, packed: list[Array], time_step: TimeStep, policy_state: Tree, row: Array
    ) -> PolicyStep:
        state = self._packing.unpack(packed)
        return act(
            self.agent.collect_policy,
            self.agent.policy_params(state),
            time_step,
            policy_state,
            self._act_key,
            row,
        )

    def _train_and_act_packed(
        self,
        packed: _Packed,
        experience: Trajectory,
        draws: Any,
        time_step: TimeStep,
        policy_state: Tree,
        row: Array,
    ) -> tuple[_Packed, PolicyStep, Array | None]:
        carry = (self._packing.unpack(packed[0]), self._totals.unpack(packed[1]))
        if self._updates == 1:
            carry, priorities = self._update(carry, (experience, draws))
        else:
            batches = split_evenly((experience, draws), self._updates)
            carry, priorities = jax.lax.scan(self._update, carry, batches)
        state, totals = self._packing.pack(carry[0]), self._totals.pack(carry[1])
        step = self._act_packed(state, time_step, policy_state, row)
        return (state, totals), step, None if priorities is None else priorities.reshape(-1)

    def _update(self, carry: tuple, batch: tuple) -> tuple[tuple, Array | None]:
        state, totals = carry
        experience, draws = batch
        state, info, priorities = replay_update(self._train, state, experience, draws, self._beta)
        totals = {name: total + info.metrics[name] for name, total in totals.items()}
        return (state, totals), priorities

"""The loop of an off-policy agent over a host environment: act, store, sample, train."""

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..agents.agent import Agent, TrainState, warm_up_policy
from ..drivers.driver import Driver
from ..envs.checks import check_at_least
from ..envs.environment import Environment
from ..envs.types import Array, PolicyStep, Sample, TimeStep, Trajectory, Tree
from ..policies.policy import act
from ..policies.schedule import Schedule
from ..replay.replay import Replay, is_prioritised
from .checks import check_loop
from .compiling import compile_ahead, compiler_options, initial_state
from .packed import PackedTree
from .prioritised import replay_update
from .sharding import split_evenly

_Packed = tuple[list[Array], list[Array]]  # the training state, and the sums of its metrics
_Draws = tuple[Array, Array] | None  # probabilities and table sizes of prioritised draws
_LARGEST = 16_384  # elements of a leaf that is packed


class OffPolicyLoop:
    """An off-policy agent in a Python loop over a host environment.

    One iteration is `driver.run(num_steps=...)` up to the steps that are due, `next(dataset)`,
    `agent.train(...)`, and computes exactly what these would: it only hands over fewer, larger
    pieces. The state travels as a few vectors, and one call trains and chooses the next action.

    Args:
      agent: Off-policy agent.
      env: Host environment, unbatched or of n environments.
      buffer: Replay of `agent.train_sequence_length` rows, which gets the driver's rows.
      batch_size: Number of windows in a batch.
      steps_per_iteration: Number of environment steps, summed over environments, before the updates
        of an iteration. What several environments make beyond it counts for the next iteration,
        which may need no row then.
      updates_per_iteration: Number of updates of an iteration, each on a batch of its own; all are
        drawn before the first.
      importance_exponent: Exponent beta of the importance weights where the buffer is prioritised;
        a float, or a schedule of the update count.
      observers: Functions that see each row, after the buffer.
      metrics: Names of the agent's metrics that `run` returns; None for all. A metric that is left
        out is not computed: without "grad_norm" an update of SAC with 256-256 networks takes 3 %
        less time.
      key: Typed key of the run; `state` brings its own training key.
      seed: Seed of the environment's first reset.
      state: State to continue from; None starts afresh.

    Attributes:
      agent: The agent.
      buffer: The replay buffer.
      driver: The driver, which steps the environment and counts.
      steps_ahead: Number of steps that were made beyond those of the iterations, and of the
        warm-up.

    Raises:
      TypeError: if another loop is for this agent or environment.
      ValueError: if a number is less than 1, or a name in `metrics` is unknown.
    """

    def __init__(
        self,
        agent: Agent,
        env: Environment,
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
        numbers = {
            "batch_size": batch_size,
            "steps_per_iteration": steps_per_iteration,
            "updates_per_iteration": updates_per_iteration,
        }
        check_at_least("OffPolicyLoop", 1, numbers)
        train_key, self._act_key, self._warm_up_key = jax.random.split(key, 3)
        self.agent = agent
        self.buffer = buffer
        observers = (buffer.add, *observers)
        self.driver = Driver(env, agent.collect_policy, observers, key=self._act_key, seed=seed)
        self.steps_ahead = 0
        self._batch_size = batch_size
        self._steps = steps_per_iteration
        self._updates = updates_per_iteration
        self._beta = importance_exponent
        self._prioritised = buffer if is_prioritised(buffer) else None
        self._dataset: Iterator[Sample] | None = None
        self._sampled = False
        self._warm_up_policy = warm_up_policy(agent)  # one, since each would be compiled
        self._train = jax.jit(agent.train, inline=True)  # what is traced here is not traced again
        like = jax.eval_shape(agent.init, train_key) if state is None else state
        self._packing = PackedTree(like, largest=_LARGEST)
        self._totals = PackedTree(self._metrics_like(like, metrics))
        compiling = self._make_calls(like)
        self.state = initial_state(agent, train_key) if state is None else state
        self._compiling = compiling

    @property
    def state(self) -> TrainState:
        """The training state: a copy, which the loop does not touch."""
        return self._unpack(self._packed[0])

    @state.setter
    def state(self, state: TrainState) -> None:
        self._packed = (self._pack(state), jax.device_put(self._totals.zeros()))

    def warm_up(self, num_steps: int) -> None:
        """Fills the buffer with environment steps of `agents.warm_up_policy`.

        Its actions are uniformly random, or, where rows hold what only the agent's policy knows,
        those of the collect policy.

        Args:
          num_steps: Number of environment steps, summed over environments.
        """
        driver = self.driver
        stop = driver.num_steps + num_steps
        if self._warm_up_policy is self.agent.collect_policy:
            self._collect()
            driver.run(num_steps=num_steps, params=self.agent.policy_params(self.state))
        else:
            driver.set_policy(self._warm_up_policy, self._warm_up_key)
            driver.run(num_steps=num_steps)
        self.steps_ahead = driver.num_steps - stop

    def run(self, num_iterations: int) -> dict[str, float]:
        """Runs iterations, and returns the means of the agent's metrics over them.

        Args:
          num_iterations: Number of iterations.

        Raises:
          ValueError: if `num_iterations` is less than 1.
          RuntimeError: if the buffer has too few rows for a batch after the first iteration's.
          TimeoutError: if the buffer cannot give a batch; the message shows its state.
        """
        if num_iterations < 1:
            raise ValueError(f"num_iterations: expected at least 1, got {num_iterations}")
        driver = self.driver
        self._collect()
        driver.start()
        if self._dataset is None:
            self._dataset = self.buffer.as_dataset(self._batch_size * self._updates)
        policy_step = self._act(self._packed[0], *self._place())
        self._compiling.join()
        for _ in range(num_iterations):
            stop = driver.num_steps + self._steps - self.steps_ahead
            if driver.num_steps < stop:
                driver.take(policy_step)
            while driver.num_steps < stop:
                driver.take(self._act(self._packed[0], *self._place()))
            self.steps_ahead = driver.num_steps - stop
            if not self._sampled:
                self._check_filled()
            experience, info = next(self._dataset)
            draws = (info.probability, info.table_size) if self._prioritised is not None else None
            self._packed, policy_step, priorities = self._train_and_act(
                self._packed, experience, draws, *self._place()
            )
            if self._prioritised is not None:
                self._prioritised.update_priorities(info.key, np.asarray(priorities))
        state, totals = self._packed
        self._packed = (state, jax.device_put(self._totals.zeros()))
        sums = self._totals.unpack(jax.device_get(totals))
        num_updates = num_iterations * self._updates
        return {name: float(total) / num_updates for name, total in sums.items()}

    def _collect(self) -> None:
        if self.driver.policy is not self.agent.collect_policy:
            self.driver.set_policy(self.agent.collect_policy, self._act_key)

    def _check_filled(self) -> None:
        """Says at once that the buffer is not filled, unless others may be filling it."""
        buffer: Any = self.buffer
        waits = getattr(buffer, "others_write", False) or not hasattr(buffer, "can_sample")
        if not waits and not buffer.can_sample():
            have = f"{len(buffer)} rows" if hasattr(buffer, "__len__") else "too few rows"
            length = self.agent.train_sequence_length or 2
            least = getattr(buffer, "min_size", 1)
            raise RuntimeError(
                f"OffPolicyLoop.run: {type(buffer).__name__} has {have} and cannot give a batch: "
                f"it needs {least} window{'s' * (least != 1)} of {length} consecutive rows. Call "
                "loop.warm_up(num_steps) before loop.run, or add rows"
            )
        self._sampled = True

    def _place(self) -> tuple[TimeStep, Tree, np.int32]:
        """Returns what to act on: the time step, the policy's state, the number of the row."""
        driver = self.driver
        return driver.time_step, driver.policy_state, np.int32(driver.num_rows)

    def _rows_like(self, *leading: int) -> Trajectory:
        return jax.tree.map(
            lambda s: jax.ShapeDtypeStruct((*leading, *s.shape), s.dtype),
            self.agent.collect_data_spec,
        )

    def _batch_like(self, size: int) -> Trajectory:
        return self._rows_like(size, self.agent.train_sequence_length or 2)

    def _metrics_like(self, state: TrainState, wanted: Sequence[str] | None) -> dict[str, Any]:
        """Returns the shapes of the metrics that are wanted, by name."""
        batch = self._batch_like(self._batch_size)
        computed = jax.eval_shape(self._train, state, batch, None)[1].metrics
        names = tuple(computed if wanted is None else wanted)
        if unknown := set(names) - set(computed):
            raise ValueError(
                f"metrics: expected some of {', '.join(computed)}, got {', '.join(sorted(unknown))}"
            )
        return {name: computed[name] for name in names}

    def _make_calls(self, state: TrainState) -> threading.Thread:
        # Copies, since `jit` returns an array that it only passes on as it is, and the loop donates
        # its own.
        self._pack = jax.jit(lambda state: [jnp.copy(x) for x in self._packing.pack(state)])
        self._unpack = jax.jit(lambda packed: jax.tree.map(jnp.copy, self._packing.unpack(packed)))
        packed = (jax.eval_shape(self._pack, state), self._totals.zeros())
        num_drawn = self._batch_size * self._updates
        num_envs = self.driver.env.num_envs
        shape = () if num_envs is None else (num_envs,)
        row = self._rows_like(*shape)
        time_step = TimeStep(row.step_type, row.reward, row.discount, row.observation)
        policy_state = self.agent.collect_policy.initial_state(shape)
        place = (time_step, policy_state, np.int32(0))
        prioritised = self._prioritised is not None
        draws = (np.zeros(num_drawn), np.zeros(num_drawn, int)) if prioritised else None
        call = (packed, self._batch_like(num_drawn), draws, *place)
        # Jitted twice, so that it is traced once, here and in the call.
        train_and_act = jax.jit(self._train_and_act_packed, inline=True)
        options = partial(compiler_options, params=state.params, batch_size=self._batch_size)
        self._train_and_act = jax.jit(
            train_and_act, donate_argnums=0, **options(train_and_act, call)
        )
        self._act = jax.jit(self._act_packed, **options(self._act_packed, (packed[0], *place)))
        # The first iteration would wait for this call.
        return compile_ahead(self._train_and_act, *call)

    def _act_packed(
        self, packed: list[Array], time_step: TimeStep, policy_state: Tree, row: Array
    ) -> PolicyStep:
        policy = self.agent.collect_policy
        params = self.agent.policy_params(self._packing.unpack(packed))
        return act(policy, params, time_step, policy_state, self._act_key, row)

    def _train_and_act_packed(
        self,
        packed: _Packed,
        experience: Trajectory,
        draws: _Draws,
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
        state = self._packing.pack(carry[0])
        totals = self._totals.pack(carry[1])
        step = self._act_packed(state, time_step, policy_state, row)
        return (state, totals), step, None if priorities is None else priorities.reshape(-1)

    def _update(self, carry: tuple, batch: tuple) -> tuple[tuple, Array | None]:
        state, totals = carry
        experience, draws = batch
        state, info, priorities = replay_update(self._train, state, experience, draws, self._beta)
        totals = {name: total + info.metrics[name] for name, total in totals.items()}
        return (state, totals), priorities

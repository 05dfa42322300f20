"""The loop of an on-policy agent over a host environment: act, store, learn from the segment."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..agents.agent import TrainState
from ..agents.on_policy import OnPolicyAgent
from ..drivers.driver import Driver
from ..envs.checks import check_at_least
from ..envs.environment import Environment
from ..envs.specs import validate
from ..envs.types import Array, PolicyStep, TimeStep, Trajectory, Tree, bootstrap_row
from ..policies.policy import act
from .checks import check_loop
from .compiling import compiler_options, initial_state
from .on_policy_scan import learn
from .packed import PackedTree


class OnPolicyLoop:
    """An on-policy agent in a Python loop over a host environment.

    It is for host environments what `OnPolicyScan` is for JAX environments. One iteration is
    `driver.run(num_rows=...)`, the bootstrap row, `agent.prepare`, and `agent.train` on each part
    of the batch in each epoch. It computes exactly what these would, in one call to act on a row
    and one to learn from a segment, which travels to the device as a vector for each dtype.

    Segments are cut after `num_rows` rows, within episodes too, and estimates bootstrap there. For
    whole episodes use a queue of them, such as `replay.HostQueue`.

    Args:
      agent: On-policy agent; its collect policy acts.
      env: Host environment, unbatched or of n environments.
      num_rows: Number of rows of an iteration in each environment, boundary rows included.
      num_epochs: Number of passes over a batch.
      num_minibatches: Number of equal parts of a batch, with an update for each. With 1 no
        permutation is drawn.
      observers: Functions that see each row.
      key: Typed key of the run, used as `OnPolicyScan` does; `state` brings its own training key.
      seed: Seed of the environment's first reset.
      state: State to continue from; None starts afresh.

    Attributes:
      agent: The agent.
      driver: The driver, which steps the environment and counts.
      num_iterations: Number of iterations so far; the permutations of the next are drawn from this
        number and `key`.

    Raises:
      TypeError: if another loop is for this agent or environment.
      ValueError: if a number is less than 1, or `num_minibatches` does not divide the batch.
    """

    def __init__(
        self,
        agent: OnPolicyAgent,
        env: Environment,
        *,
        num_rows: int = 128,
        num_epochs: int = 4,
        num_minibatches: int = 4,
        observers: Sequence[Callable[[Trajectory], Any]] = (),
        key: Array,
        seed: int | None = None,
        state: TrainState | None = None,
    ):
        check_loop(agent, env, on_policy=True, on_device=False)
        numbers = {
            "num_rows": num_rows,
            "num_epochs": num_epochs,
            "num_minibatches": num_minibatches,
        }
        check_at_least("OnPolicyLoop", 1, numbers)
        # The second of the keys resets OnPolicyScan's environments.
        train_key, _, self._act_key, self._key = jax.random.split(key, 4)
        self.agent = agent
        self.driver = Driver(env, agent.collect_policy, observers, key=self._act_key, seed=seed)
        self.num_iterations = 0
        self._num_rows = num_rows
        self._num_epochs = num_epochs
        self._num_minibatches = num_minibatches
        self._checked = False
        state = initial_state(agent, train_key) if state is None else state
        shape = (num_rows + 1, env.num_envs or 1)
        example = jax.tree.map(
            lambda s: jax.ShapeDtypeStruct((*shape, *s.shape), s.dtype), agent.collect_data_spec
        )
        self._segment = PackedTree(example)
        self._vectors = self._segment.zeros()
        # Views of the vectors, [num_rows + 1, n, ...].
        self._columns = jax.tree.leaves(self._segment.unpack(self._vectors))
        # Jitted, so that it is traced once, here and in the update.
        self._learn = jax.jit(self._learn_once, inline=True)
        metrics = jax.eval_shape(self._learn, state, example, np.int32(0))[1]
        self._zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), metrics)
        options = partial(compiler_options, params=state.params)
        row = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape[1:], s.dtype), example)
        if env.num_envs is None:
            row = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape[1:], s.dtype), row)
        time_step = TimeStep(row.step_type, row.reward, row.discount, row.observation)
        memory = agent.collect_policy.initial_state(() if env.num_envs is None else (env.num_envs,))
        acting = (jax.eval_shape(agent.policy_params, state), time_step, memory, np.int32(0))
        learning = (state, self._zeros, self._vectors, np.int32(0))
        self._act = jax.jit(self._act_once, **options(self._act_once, acting))
        self._update = jax.jit(
            self._update_once, donate_argnums=0, **options(self._update_once, learning)
        )
        self._copy = jax.jit(partial(jax.tree.map, jnp.copy))
        self.state = state

    @property
    def state(self) -> TrainState:
        """The training state: a copy, which the loop does not touch."""
        return self._copy(self._state)

    @state.setter
    def state(self, state: TrainState) -> None:
        # Two copies: the one is donated, and must not be what acts.
        self._state = self._copy(state)
        self._params = self.agent.policy_params(self._copy(state))

    def run(self, num_iterations: int) -> dict[str, float]:
        """Runs iterations, and returns the means of the agent's metrics over them.

        Args:
          num_iterations: Number of iterations.

        Raises:
          ValueError: if `num_iterations` is less than 1.
          SpecError: if the environment's rows do not meet the agent's `collect_data_spec`.
        """
        if num_iterations < 1:
            raise ValueError(f"num_iterations: expected at least 1, got {num_iterations}")
        driver = self.driver
        totals = self._zeros
        driver.start()
        for _ in range(num_iterations):
            for t in range(self._num_rows):
                step = self._act(
                    self._params, driver.time_step, driver.policy_state, np.int32(driver.num_rows)
                )
                row = driver.take(step)
                if not self._checked:
                    self._check(row)
                # The last update has finished, since its parameters have acted: its segment may be
                # overwritten.
                self._store(t, row)
            self._store(self._num_rows, bootstrap_row(driver.time_step, row))
            self._state, self._params, totals = self._update(
                self._state, totals, self._vectors, np.int32(self.num_iterations)
            )
            self.num_iterations += 1
        return {name: float(total) / num_iterations for name, total in totals.items()}

    def _check(self, row: Trajectory) -> None:
        batch_ndim = 0 if self.driver.env.num_envs is None else 1
        validate(row, self.agent.collect_data_spec, batch_ndim=batch_ndim)
        self._checked = True

    def _store(self, t: int, row: Trajectory) -> None:
        for column, leaf in zip(self._columns, jax.tree.leaves(row), strict=True):
            column[t] = leaf

    def _act_once(
        self, params: Tree, time_step: TimeStep, policy_state: Tree, row: Array
    ) -> PolicyStep:
        return act(self.agent.collect_policy, params, time_step, policy_state, self._act_key, row)

    def _update_once(
        self, state: TrainState, totals: dict[str, Array], vectors: list[Array], iteration: Array
    ) -> tuple[TrainState, Tree, dict[str, Array]]:
        state, metrics = self._learn(state, self._segment.unpack(vectors), iteration)
        return state, self.agent.policy_params(state), jax.tree.map(jnp.add, totals, metrics)

    def _learn_once(
        self, state: TrainState, rows: Trajectory, iteration: Array
    ) -> tuple[TrainState, dict[str, Array]]:
        experience = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), rows)
        key = jax.random.fold_in(self._key, iteration)
        return learn(self.agent, state, experience, key, self._num_epochs, self._num_minibatches)

"""The on-policy loop over a host environment: act and store in Python, then learn from the segment
in one compiled call.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..agents.agent import TrainState
from ..agents.on_policy import OnPolicyAgent
from ..drivers.driver import Driver
from ..envs.specs import validate
from ..envs.types import Array, PolicyStep, TimeStep, Trajectory, Tree, bootstrap_row
from ..policies.policy import act
from .checks import check_loop
from .compiling import compiler_options, initial_state
from .on_policy_scan import learn
from .packed import PackedTree


class OnPolicyLoop:
    """An on-policy agent in a Python loop over a host environment: what `OnPolicyScan` is for JAX
    environments.

    One iteration is `driver.run(num_rows=...)`, the bootstrap row, `agent.prepare`, and
    `agent.train` on each part of the batch in each epoch. It computes exactly what these would, in
    one call to act on a row and one to learn from a segment, which travels to the device as a
    vector for each dtype.

    Segments are cut after `num_rows` rows, within episodes too, and estimates bootstrap there. For
    whole episodes use a queue of them, such as `replay.HostQueue`.

    Args:
      agent: an on-policy agent; its collect policy acts.
      env: a host environment, unbatched or of n environments.
      num_rows: rows of an iteration in each environment; boundary rows (one an episode) count.
      num_epochs: passes over a batch.
      num_minibatches: equal parts of a batch; an update for each. 1: no permutation is drawn.
      observers: see each row.
      key: typed key of the run, used as `OnPolicyScan` does; `state` brings its own training key.
      seed: of the environment's first reset.
      state: to continue with; None starts afresh.

    Attributes:
      agent, driver: as given, and what steps the environment and counts.
      num_iterations: iterations so far; the permutations of the next are drawn from this number and
        `key`.

    Raises:
      TypeError: if another loop is for this agent or environment.
      ValueError: if a number is less than 1, or `num_minibatches` does not divide the batch.
    """

    def __init__(
        self,
        agent: OnPolicyAgent,
        env: Any,
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
        if min(num_rows, num_epochs, num_minibatches) < 1:
            raise ValueError(f"expected at least 1: {num_rows=}, {num_epochs=}, {num_minibatches=}")
        train_key, _, self._act_key, self._key = jax.random.split(
            key, 4
        )  # the second one resets OnPolicyScan's environments
        self.agent = agent
        self.driver = Driver(env, agent.collect_policy, observers, key=self._act_key, seed=seed)
        self.num_iterations = 0
        self._num_rows, self._num_epochs, self._num_minibatches = (
            num_rows,
            num_epochs,
            num_minibatches,
        )
        state = initial_state(agent, train_key) if state is None else state
        shape = (num_rows + 1, env.num_envs or 1)
        example = jax.tree.map(
            lambda s: jax.ShapeDtypeStruct((*shape, *s.shape), s.dtype), agent.collect_data_spec
        )
        self._learn = jax.jit(
            self._learn_once, inline=True
        )  # what is traced here is not traced again
        metrics = jax.eval_shape(self._learn, state, example, np.int32(0))[1]
        self._zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), metrics)
        self._segment = PackedTree(example)
        self._vectors = self._segment.zeros()
        self._columns = jax.tree.leaves(
            self._segment.unpack(self._vectors)
        )  # views, [num_rows + 1, n, ...]
        self._checked = False
        options = compiler_options(state.params)
        self._act = jax.jit(self._act_once, **options)
        self._update = jax.jit(self._update_once, donate_argnums=0, **options)
        self._copy = jax.jit(partial(jax.tree.map, jnp.copy))
        self.state = state

    @property
    def state(self) -> TrainState:
        """The training state: a copy, which the loop does not touch."""
        return self._copy(self._state)

    @state.setter
    def state(self, state: TrainState) -> None:
        self._state = self._copy(state)  # since it will be donated; so must not be what actors use:
        self._params = self.agent.policy_params(self._copy(state))

    def run(self, num_iterations: int) -> dict[str, float]:
        """Runs iterations, and returns the means of the agent's metrics over them.

        Raises:
          ValueError: if `num_iterations` is less than 1.
          SpecError: if the environment's rows do not meet the agent's `collect_data_spec`.
        """
        if num_iterations < 1:
            raise ValueError(f"num_iterations: expected at least 1, got {num_iterations}")
        driver, totals = self.driver, self._zeros
        driver.start()
        for _ in range(num_iterations):
            for t in range(self._num_rows):
                step = self._act(
                    self._params, driver.time_step, driver.policy_state, np.int32(driver.num_rows)
                )
                row = driver.take(
                    step
                )  # from here on the last update has finished, and its segment may be overwritten
                if not self._checked:
                    validate(
                        row,
                        self.agent.collect_data_spec,
                        batch_ndim=0 if driver.env.num_envs is None else 1,
                    )
                    self._checked = True
                self._store(t, row)
            self._store(self._num_rows, bootstrap_row(driver.time_step, row))
            self._state, self._params, totals = self._update(
                self._state, totals, self._vectors, np.int32(self.num_iterations)
            )
            self.num_iterations += 1
        return {name: float(total) / num_iterations for name, total in totals.items()}

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

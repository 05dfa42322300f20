"""Several runs on device as one: vmapped over seeds, and over numbers that differ."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...agents.agent import TrainState
from ...envs.environment import JaxEnvironment
from ...envs.types import Array, Tree
from .compiled import make_loop, progress_of
from .protocol import Progress


class VmappedRuns:
    """Device runs in step with each other, compiled once. What each computes is what `DeviceRunner`
    does, but for rounding.

    Args:
      config: what the runs share.
      env: a JAX environment.
      seeds: of the runs.
      values: fields of `config` that they do not share: floats, as many as seeds.
    """

    def __init__(
        self,
        config: Any,
        env: JaxEnvironment,
        seeds: Sequence[int],
        values: Mapping[str, Sequence[float]],
    ):
        def loop(values: Mapping[str, Any]) -> Any:
            one = dataclasses.replace(config, **values)
            return make_loop(one, one.agent(env.specs), env)

        def run(state: Tree, active: Array, num_iterations: int) -> tuple[Tree, Tree]:
            new, metrics = jax.vmap(lambda state, values: loop(values).run(state, num_iterations))(
                state, self._values
            )
            keep = jax.vmap(
                lambda one, new, old: jax.tree.map(lambda x, y: jnp.where(one, x, y), new, old)
            )
            return jax.lax.cond(
                active.all(), lambda: new, lambda: keep(active, new, state)
            ), metrics

        self._loop, self._config = loop, config
        self._keys = jnp.stack([jax.random.key(seed) for seed in seeds])
        self._values = {name: jnp.asarray(numbers, jnp.float32) for name, numbers in values.items()}
        self._run = jax.jit(run, static_argnums=2, donate_argnums=0)
        self._slice = jax.jit(lambda state, index: jax.tree.map(lambda x: x[index], state))
        self._state: Any = None
        self._rows = self.unreported = 0
        self.members = [VmappedRun(self, index) for index in range(len(seeds))]

    def possible(self) -> bool:
        """Whether agents can be built and trained with numbers unknown when they are compiled."""

        def once(key: Array, values: Mapping[str, Array]) -> Tree:
            loop = self._loop(values)
            return loop.run(loop.init(key), 1)

        try:
            jax.eval_shape(jax.vmap(once), self._keys, self._values)
        except TypeError:  # all of JAX's errors about traced values are
            return False
        return True

    @property
    def num_steps(self) -> int:
        """Environment steps of a run that has not been left behind."""
        return self._rows - self.unreported

    def advance(self, active: Sequence[bool]) -> None:
        """Makes the next report's steps of the active runs, and leaves the others as they are."""
        begin = time.perf_counter()
        if self._state is None:
            self._state = jax.jit(jax.vmap(lambda key, values: self._loop(values).init(key)))(
                self._keys, self._values
            )
            self._rows = self.unreported = int(self._state.rollout.row[0]) * self._config.num_envs
        per_report = self._config.steps_per_report
        steps = per_report - self.num_steps % per_report
        warm_up = min(steps, self.unreported)
        self.unreported -= warm_up
        iterations = -(-(steps - warm_up) // self._config.steps_per_iteration)
        metrics: Any = {}
        if iterations:
            self._state, metrics = self._run(self._state, jnp.asarray(active), iterations)
            metrics = jax.device_get(metrics)
            self._rows += iterations * self._config.steps_per_iteration
        seconds = time.perf_counter() - begin
        for index, member in enumerate(self.members):
            if active[index]:
                own = {name: value[index] for name, value in metrics.items()}
                made = Progress(0, {}, [])
                if iterations:
                    made = progress_of(self._config, own, iterations)
                member.made = (made._replace(seconds=seconds), self.num_steps)

    def state_of(self, index: int) -> Any:
        """A copy of one run's state."""
        return self._slice(self._state, index)

    def set_state_of(self, index: int, state: Tree) -> None:
        """Replaces one run's state."""
        self._state = jax.tree.map(lambda all, one: all.at[index].set(one), self._state, state)


class VmappedRun:
    """The runner of one of the runs: gives what `VmappedRuns.advance` has made. A run's time is
    that of all of them.
    """

    replay = None

    def __init__(self, together: VmappedRuns, index: int):
        self._together, self._index = together, index
        self.chunk = together._config.steps_per_report
        self.num_steps = 0
        self.made: Any = None

    @property
    def train_state(self) -> TrainState:
        return self._together.state_of(self._index).train

    @train_state.setter
    def train_state(self, state: TrainState) -> None:
        mine = self._together.state_of(self._index)
        self._together.set_state_of(self._index, dataclasses.replace(mine, train=state))

    def advance(self, num_steps: int) -> Progress:
        progress, self.num_steps = self.made
        self.made = None
        return progress

    def state(self) -> tuple[Tree, dict[str, Any]]:
        state = self._together.state_of(self._index)
        rest = dataclasses.replace(state, train=())
        return {"agent": state.train, "loop": rest}, {"unreported": self._together.unreported}

    def set_state(self, state: Tree, counters: Mapping[str, Any], seed: int) -> None:
        raise ValueError(
            "a run of a sweep on device cannot be restored within it; "
            "make a Trainer of its configuration"
        )

    def close(self) -> None:
        """Nothing: the other runs go on."""

"""Several runs on device as one: vmapped over their seeds and over numbers in which they differ."""

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...agents.agent import TrainState
from ...envs.environment import JaxEnvironment
from ...envs.types import Array, Tree
from ..configs.base import Config
from .compiled import go_on_counting, make_loop, most_steps, progress_of
from .protocol import Progress, merge


class VmappedRuns:
    """Device runs in step with each other, compiled once.

    Each computes what a `CompiledRunner` of its own does, except for rounding.

    Args:
      config: Configuration that the runs share.
      env: JAX environment.
      seeds: Seeds of the runs.
      values: Fields of `config` that the runs do not share: as many floats as there are seeds.

    Attributes:
      members: Runners of the runs, in the order of their seeds.
    """

    def __init__(
        self,
        config: Config,
        env: JaxEnvironment,
        seeds: Sequence[int],
        values: Mapping[str, Sequence[float]],
    ):
        def loop(values: Mapping[str, Any]) -> Any:
            one = dataclasses.replace(config, **values)
            return make_loop(one, one.agent(env.specs), env)

        def run(state: Tree, active: Array, num_iterations: Array) -> tuple[Tree, Tree]:
            new, metrics = jax.vmap(lambda state, values: loop(values).run(state, num_iterations))(
                state, self._values
            )
            keep = jax.vmap(
                lambda one, new, old: jax.tree.map(lambda x, y: jnp.where(one, x, y), new, old)
            )
            return jax.lax.cond(
                active.all(), lambda: new, lambda: keep(active, new, state)
            ), metrics

        self._loop = loop
        self._config = config
        self._keys = jnp.stack([jax.random.key(seed) for seed in seeds])
        self._values = {name: jnp.asarray(numbers, jnp.float32) for name, numbers in values.items()}
        self._run = jax.jit(run, donate_argnums=0)
        self._slice = jax.jit(lambda state, index: jax.tree.map(lambda x: x[index], state))
        self._state: Any = None
        self._done = np.zeros(len(seeds), np.int64)  # steps of each run, the warm-up included
        self.members = [VmappedRun(self, index, config) for index in range(len(seeds))]

    def possible(self) -> bool:
        """Returns true if the agents can be built and trained with the values as traced numbers."""

        def once(key: Array, values: Mapping[str, Array]) -> Tree:
            loop = self._loop(values)
            return loop.run(loop.init(key), 1)

        try:
            jax.eval_shape(jax.vmap(once), self._keys, self._values)
        except TypeError:  # all of JAX's errors about traced values are
            return False
        return True

    def advance(self, active: Sequence[bool]) -> None:
        """Makes the steps of the next report of each run that is active.

        Args:
          active: Marks of the runs to go on with; the others stay as they are.
        """
        begin = time.perf_counter()
        if self._state is None:
            self._state = jax.jit(jax.vmap(lambda key, values: self._loop(values).init(key)))(
                self._keys, self._values
            )
            for member, count in zip(self.members, self._counts(), strict=True):
                member.unreported = int(count)
        remaining = np.zeros(len(self.members), int)
        parts: list[list[Progress]] = [[] for _ in self.members]
        steps = self._counts() - [member.unreported for member in self.members]
        for index, member in enumerate(self.members):
            if active[index]:
                due = member.chunk - steps[index] % member.chunk
                warm_up = min(due, member.unreported)
                member.unreported -= warm_up
                remaining[index] = due - warm_up
        goals = self._counts() + remaining
        # Episodes end at other times in each run, so that some need more iterations than others.
        while (pending := self._counts() < goals).any():
            least = int((goals - self._counts())[pending].min())
            iterations = math.ceil(least / most_steps(self._config))
            before = np.asarray(self._state.train.step)
            self._state, metrics = self._run(
                self._state, jnp.asarray(pending), jnp.int32(iterations)
            )
            metrics = jax.device_get(metrics)
            updates = np.asarray(self._state.train.step) - before
            for index in np.flatnonzero(pending):
                own = {name: value[index] for name, value in metrics.items()}
                parts[index].append(progress_of(self._config, own, int(updates[index])))
        seconds = time.perf_counter() - begin
        for member, count, made in zip(self.members, self._counts(), parts, strict=True):
            if active[member.index]:
                steps_so_far = int(count) - member.unreported
                member.made = (merge(made)._replace(seconds=seconds), steps_so_far)

    def state_of(self, index: int) -> Any:
        """Returns a copy of one run's state."""
        return self._slice(self._state, index)

    def set_state_of(self, index: int, state: Tree) -> None:
        """Replaces one run's state."""
        self._state = jax.tree.map(lambda all, one: all.at[index].set(one), self._state, state)

    def _counts(self) -> np.ndarray:
        counts = np.asarray(self._state.num_steps, np.int64)
        self._done = go_on_counting(self._done, counts)
        return self._done


class VmappedRun:
    """The runner of one of the runs: it hands out what `VmappedRuns.advance` has made.

    Its time is that of all runs together.

    Args:
      together: All of the runs.
      index: Index of this one.
      config: Configuration of the runs.

    Attributes:
      num_steps: Number of environment steps that were handed out.
      unreported: Number of environment steps of the warm-up that were made and not yet handed out.
      made: Progress to hand out next, and the number of environment steps after it.
    """

    replay = None

    def __init__(self, together: VmappedRuns, index: int, config: Config):
        self._together = together
        self.index = index
        self.chunk = config.steps_per_report
        self.num_steps = 0
        self.unreported = 0
        self.made: Any = None

    @property
    def train_state(self) -> TrainState:
        """The agent's state, a copy; may be set."""
        return self._together.state_of(self.index).train

    @train_state.setter
    def train_state(self, state: TrainState) -> None:
        mine = self._together.state_of(self.index)
        self._together.set_state_of(self.index, dataclasses.replace(mine, train=state))

    def advance(self, num_steps: int) -> Progress:
        """Hands out the progress of a whole report, which was made before."""
        progress, self.num_steps = self.made
        self.made = None
        return progress

    def state(self) -> tuple[Tree, dict[str, Any]]:
        """Returns the arrays to save, the agent's state apart, and counters for JSON."""
        state = self._together.state_of(self.index)
        rest = dataclasses.replace(state, train=())
        counters = {"done": self.num_steps + self.unreported, "unreported": self.unreported}
        return {"agent": state.train, "loop": rest}, counters

    def set_state(self, state: Tree, counters: Mapping[str, Any], seed: int) -> None:
        """Raises a ValueError: the other runs would have to go back too."""
        raise ValueError(
            "a run of a sweep on device cannot be restored within it; make a Trainer of its "
            "configuration"
        )

    def close(self) -> None:
        """Does nothing: the other runs go on."""

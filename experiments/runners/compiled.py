"""What runners share whose loop is one compiled function of a state."""

import dataclasses
from typing import Any

import jax

from ...agents.agent import TrainState
from ...learners.compiling import optimization_level


class CompiledRunner:
    """A loop's `run(state, num_iterations)`, compiled, and its state, which each run donates to the
    next.

    The agent's part of that state is `state.train`. What a report counts, and what is saved, is up
    to the class that derives from this.
    """

    replay = None

    def __init__(self, loop: Any, seed: int):
        self._state: Any = jax.jit(loop.init, **optimization_level({}))(jax.random.key(seed))
        self._run: Any = jax.jit(
            loop.run,
            static_argnums=1,
            donate_argnums=0,
            **optimization_level(self._state.train.params),
        )

    @property
    def train_state(self) -> TrainState:
        return jax.tree.map(jax.numpy.copy, self._state.train)  # the next run donates it

    @train_state.setter
    def train_state(self, state: TrainState) -> None:
        self._state = dataclasses.replace(self._state, train=jax.tree.map(jax.numpy.copy, state))

    def close(self) -> None:
        self._state = None

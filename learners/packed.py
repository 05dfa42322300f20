"""What makes calls from Python cheap: a tree as a few vectors, since their cost grows with the number of arrays, not with
their size, and the compiler's options."""

import math
import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..agents.agent import Agent, TrainState
from ..envs.types import Array, Tree


class Packing:
    """How trees like `example` (arrays or their shapes) are packed: one vector per dtype, typed keys as they are.

    With `largest`, leaves of more elements stay as they are too: to copy them costs more than to hand them over.
    """

    def __init__(self, example: Tree, largest: float = math.inf):
        leaves, treedef = jax.tree.flatten(example)
        self._treedef: Any = treedef
        self._shapes = [tuple(leaf.shape) for leaf in leaves]
        self._groups: dict[Any, list[int]] = {}
        is_key = [jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves]
        self._single = [i for i, shape in enumerate(self._shapes) if is_key[i] or math.prod(shape) > largest]
        for i, leaf in enumerate(leaves):
            if i not in self._single:
                self._groups.setdefault(np.dtype(leaf.dtype), []).append(i)

    def zeros(self) -> list[np.ndarray]:
        """Vectors of zeros on the host. `unpack` gives the leaves as views of them: writing there packs. Vectors only."""
        sizes = [math.prod(shape) for shape in self._shapes]
        return [np.zeros(sum(sizes[i] for i in group), dtype) for dtype, group in self._groups.items()]

    def pack(self, tree: Tree) -> list[Array]:
        """The tree as a list of vectors; jit it."""
        leaves = self._treedef.flatten_up_to(tree)
        vectors = [jnp.concatenate([jnp.ravel(leaves[i]) for i in group]) for group in self._groups.values()]
        return vectors + [leaves[i] for i in self._single]

    def unpack(self, vectors: list[Array]) -> Tree:
        """The inverse of `pack`."""
        leaves: list[Any] = [None] * len(self._shapes)
        for vector, group in zip(vectors, self._groups.values(), strict=False):
            start = 0
            for i in group:
                stop = start + math.prod(self._shapes[i])
                leaves[i] = vector[start:stop].reshape(self._shapes[i])
                start = stop
        for i, leaf in zip(self._single, vectors[len(self._groups) :], strict=True):
            leaves[i] = leaf
        return self._treedef.unflatten(leaves)


def optimization_level(params: Mapping[str, Tree]) -> dict[str, Any]:
    """Arguments of `jit` for a program with these parameters by role: on a CPU, LLVM's first level of optimisation.

    It compiles in two thirds to half the time of the third, and what it makes of networks below 256 x 256 is as fast or faster.
    A level that is set in XLA_FLAGS stays. JAX before 0.5 has no such argument.
    """
    small = all(math.prod(x.shape) < 256 * 256 for x in jax.tree.leaves(params))
    if not small or jax.default_backend() != "cpu" or jax.__version_info__ < (0, 5):
        return {}
    if "xla_backend_optimization_level" in os.environ.get("XLA_FLAGS", ""):
        return {}
    return {"compiler_options": {"xla_backend_optimization_level": 1}}


def compiler_options(params: Mapping[str, Tree], batch_size: float = math.inf) -> dict[str, Any]:
    """Arguments of `jit` for a program that Python calls again and again, such as an update on one batch: fast small ones.

    On a CPU, JAX 0.5 and 0.6 run them twice as fast without XLA's new runtime, which alone computes two things at once, such as
    an ensemble's members that are apart (a tuple). JAX 0.10 and later cannot choose that, but an order of operations that saves
    memory leaves nothing to run at once: an update on a small batch is 1.2 to 1.5 times as fast. Loops gain nothing by it.
    """
    level = optimization_level(params)
    if jax.default_backend() != "cpu":
        return level
    options, version = level.get("compiler_options", {}), jax.__version_info__
    if (0, 5) <= version < (0, 7) and not any(isinstance(role, tuple) for role in params.values()):
        options["xla_cpu_use_thunk_runtime"] = False
    if version >= (0, 10) and batch_size * sum(math.prod(x.shape) for x in jax.tree.leaves(params)) < 500_000:
        options["xla_cpu_scheduler_type"] = "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"
    return {"compiler_options": options} if options else {}


def initial_state(agent: Agent, key: Array) -> TrainState:
    """`agent.init`, compiled as what runs once."""
    return jax.jit(agent.init, **optimization_level({}))(key)

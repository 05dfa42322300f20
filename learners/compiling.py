"""Options for compiling the programs of learners, where the defaults cost small networks time."""

import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import jax

from ..agents.agent import Agent, TrainState
from ..envs.types import Array, Tree

# Operations that JAX 0.6.2 was seen to compile for XLA's old runtime as for its new one: all that
# agents with dense and recurrent networks use (tests/learners/test_compiling.py compares them).
_PROVEN = """
abs add add_any and argmax bitcast_convert_type broadcast_in_dim concatenate cond
convert_element_type copy cumprod cumsum custom_jvp_call div dot_general dynamic_slice eq
erf_inv exp gather ge gt integer_pow iota log log1p logistic lt lt_to max min mul ne neg
optimization_barrier or pad pjit pow random_bits random_fold_in random_seed random_split
reduce_max reduce_min reduce_or reduce_sum rem reshape rev rsqrt scan scatter scatter-add
select_n shift_left shift_right_logical sign slice split sqrt square squeeze stop_gradient
sub tanh transpose while xor
"""
PROVEN = frozenset(_PROVEN.split())


def optimization_level(params: Mapping[str, Tree], level: int = 1) -> dict[str, Any]:
    """Returns arguments of `jit` that set LLVM's level of optimisation on a CPU.

    The first level compiles in as little as half the time of the third, and networks below 256 x
    256 are as fast with it (within 5 %) or faster. A level that is set in XLA_FLAGS stays. JAX
    before 0.5 has no such argument.

    Args:
      params: Parameters of the program by role.
      level: Level of optimisation.
    """
    small = all(math.prod(x.shape) < 256 * 256 for x in jax.tree.leaves(params))
    if not small or jax.default_backend() != "cpu" or jax.__version_info__ < (0, 5):
        return {}
    if "xla_backend_optimization_level" in os.environ.get("XLA_FLAGS", ""):
        return {}
    return {"compiler_options": {"xla_backend_optimization_level": level}}


def compiler_options(
    program: Callable,
    args: Sequence[Tree],
    params: Mapping[str, Tree],
    batch_size: float = math.inf,
) -> dict[str, Any]:
    """Returns arguments of `jit` for a program that Python calls often, such as one update.

    On a CPU, JAX 0.6.2 runs them twice as fast without XLA's new runtime, which alone computes two
    things at once, such as an ensemble's members that are apart (a tuple). But its old runtime
    miscompiles convolutions in a loop, so only programs of the operations in `PROVEN` get it. JAX
    0.10 and later cannot choose that, but an order of operations that saves memory leaves nothing
    to run at once: an update on a small batch is 1.2 to 1.5 times as fast.

    Compiled loops take `optimization_level` alone: they gain nothing, and JAX 0.6 aborts when it
    compiles REINFORCE's for its old runtime.

    Args:
      program: Function to be compiled.
      args: Arguments of the program, or their shapes.
      params: Parameters of the program by role.
      batch_size: Number of examples in its batch.
    """
    level = optimization_level(params)
    if jax.default_backend() != "cpu":
        return level
    options = level.get("compiler_options", {})
    version = jax.__version_info__
    apart = any(isinstance(role, tuple) for role in params.values())
    if version == (0, 6, 2) and not apart and operations(program, args) <= PROVEN:
        options["xla_cpu_use_thunk_runtime"] = False
    if (
        version >= (0, 10)
        and batch_size * sum(math.prod(x.shape) for x in jax.tree.leaves(params)) < 500_000
    ):
        options["xla_cpu_scheduler_type"] = "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"
    return {"compiler_options": options} if options else {}


def operations(program: Callable, args: Sequence[Tree]) -> set[str]:
    """Returns the names of the operations (JAX's primitives) of a program, inner ones included.

    Args:
      program: Function of arrays.
      args: Arguments of the function, or their shapes.
    """
    names = set()
    jaxprs = [jax.make_jaxpr(program)(*args).jaxpr]
    while jaxprs:
        for equation in jaxprs.pop().eqns:
            names.add(equation.primitive.name)
            for value in jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "eqns")):
                inner = getattr(value, "jaxpr", value)
                if hasattr(inner, "eqns"):
                    jaxprs.append(inner)
    return names


def compile_ahead(function: Any, *args: Tree) -> threading.Thread:
    """Compiles a jitted function while the caller does something else.

    Join the thread before the first call, which finds the program made. An error is left to that
    call, which will meet it too.

    Args:
      function: Jitted function.
      args: Arguments, or their shapes.

    Returns:
      The thread that compiles.
    """

    def compile_it() -> None:
        with suppress(Exception):
            function.lower(*args).compile()

    # Not a daemon: an interpreter that exits would end it inside of LLVM.
    thread = threading.Thread(
        target=compile_it, name=f"compile {getattr(function, '__name__', 'a program')}"
    )
    thread.start()
    return thread


def initial_state(agent: Agent, key: Array) -> TrainState:
    """Returns the result of `agent.init`, compiled quickly, since it runs once."""
    return jax.jit(agent.init, **optimization_level({}, level=0))(key)

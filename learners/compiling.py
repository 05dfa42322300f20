"""How the learners' programs are compiled: what XLA and LLVM are asked for, where their defaults
cost small networks time.
"""

import math
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import jax

from ..agents.agent import Agent, TrainState
from ..envs.types import Array, Tree


def optimization_level(params: Mapping[str, Tree], level: int = 1) -> dict[str, Any]:
    """Arguments of `jit` for parameters by role: on a CPU, LLVM's first level of optimisation.

    It compiles in as little as half the time of the third; what it makes of networks below 256 x
    256 is as fast (within 5 %) or faster. A level that is set in XLA_FLAGS stays. JAX before 0.5
    has no such argument.
    """
    small = all(math.prod(x.shape) < 256 * 256 for x in jax.tree.leaves(params))
    if not small or jax.default_backend() != "cpu" or jax.__version_info__ < (0, 5):
        return {}
    if "xla_backend_optimization_level" in os.environ.get("XLA_FLAGS", ""):
        return {}
    return {"compiler_options": {"xla_backend_optimization_level": level}}


def compiler_options(params: Mapping[str, Tree], batch_size: float = math.inf) -> dict[str, Any]:
    """Arguments of `jit` for what Python calls again and again, like an update: fast small ones.

    On a CPU, JAX 0.5 and 0.6 run them twice as fast without XLA's new runtime, which alone computes
    two things at once, such as an ensemble's members that are apart (a tuple). JAX 0.10 and later
    cannot choose that, but an order of operations that saves memory leaves nothing to run at once:
    an update on a small batch is 1.2 to 1.5 times as fast.

    Compiled loops take `optimization_level` alone: they gain nothing, and JAX 0.6 aborts when it
    compiles REINFORCE's for its old runtime.
    """
    level = optimization_level(params)
    if jax.default_backend() != "cpu":
        return level
    options, version = level.get("compiler_options", {}), jax.__version_info__
    if (0, 5) <= version < (0, 7) and not any(isinstance(role, tuple) for role in params.values()):
        options["xla_cpu_use_thunk_runtime"] = False
    if (
        version >= (0, 10)
        and batch_size * sum(math.prod(x.shape) for x in jax.tree.leaves(params)) < 500_000
    ):
        options["xla_cpu_scheduler_type"] = "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"
    return {"compiler_options": options} if options else {}


def compile_ahead(function: Any, *args: Tree) -> threading.Thread:
    """Compiles a jitted function for arguments shaped like `args` while the caller goes on.

    Join the thread before the first call, which finds the program made. An error is left to that
    call, which will meet it too.
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
    """`agent.init`, compiled as what runs once."""
    return jax.jit(agent.init, **optimization_level({}, level=0))(key)

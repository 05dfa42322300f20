"""Ray, imported when it is first needed, and the environment variables of its actors."""

import os
import signal
import threading
import warnings
from typing import Any


def import_ray() -> Any:
    """Imports Ray, set to start its processes in this environment, and returns it.

    Under `uv run` it would otherwise pack the project's folder and have uv make another
    environment, which takes minutes. To have that, set RAY_ENABLE_UV_RUN_RUNTIME_ENV=1.
    """
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    # JAX warns of forks. What `subprocess` forks becomes another program at once, and takes no lock
    # of this one.
    warnings.filterwarnings(
        "ignore", r"os\.fork\(\) was called", RuntimeWarning, module="subprocess"
    )
    import ray

    return ray


def start_ray() -> Any:
    """Starts Ray, if it does not run yet, as its first call would; returns the module.

    A handler of SIGTERM that the program has set stays: Ray puts its own in its place, which ends
    the process with nothing saved.
    """
    ray = import_ray()
    if ray.is_initialized():
        return ray
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init()
    finally:
        # Without a handler of the program's, Ray's is better: it ends its processes too.
        theirs = before not in (None, signal.SIG_DFL)
        if theirs and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
    return ray


def cpu_environment() -> dict[str, str]:
    """Returns the environment variables of an actor that computes on one CPU.

    The number of devices that are simulated or present here does not matter.
    """
    threads = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PJRT_NPROC"), "1"
    )
    return {**learner_environment(0), **threads}


def learner_environment(num_gpus: float) -> dict[str, str]:
    """Returns the environment variables of a learner, whose CPU is one device.

    Args:
      num_gpus: Number of its GPUs, or a fraction of one.
    """
    flags = [
        flag
        for flag in os.environ.get("XLA_FLAGS", "").split()
        if "force_host_platform_device_count" not in flag
    ]
    variables = {"XLA_FLAGS": " ".join(flags)}
    if not num_gpus:
        # (Ray itself hides GPUs only from those that reserve some.)
        return {**variables, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    if num_gpus < 1:  # each would take three quarters of the memory
        variables["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 * num_gpus:.3f}"
    return variables

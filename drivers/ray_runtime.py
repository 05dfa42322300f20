"""Ray, imported when it is first needed, and the environment variables of its actors."""

import os
import warnings
from typing import Any


def import_ray() -> Any:
    """Ray, told to start its processes in this environment.

    Under `uv run` it would else pack the project's folder and have uv make another environment,
    which takes minutes. Whoever wants that sets RAY_ENABLE_UV_RUN_RUNTIME_ENV=1.
    """
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    # JAX warns of forks. What `subprocess` forks becomes another program at once, and takes no lock
    # of this one.
    warnings.filterwarnings(
        "ignore", r"os\.fork\(\) was called", RuntimeWarning, module="subprocess"
    )
    import ray

    return ray


def cpu_environment() -> dict[str, str]:
    """Environment variables of an actor that computes on one CPU, however many devices are
    simulated or present here.
    """
    threads = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PJRT_NPROC"), "1"
    )
    return {**learner_environment(0), **threads}


def learner_environment(num_gpus: float) -> dict[str, str]:
    """Environment variables of a learner with so many GPUs, or a part of one; its CPU is one
    device, whatever is simulated.
    """
    flags = [
        flag
        for flag in os.environ.get("XLA_FLAGS", "").split()
        if "force_host_platform_device_count" not in flag
    ]
    variables = {"XLA_FLAGS": " ".join(flags)}
    if not num_gpus:
        # Ray hides GPUs from those that reserve some
        return {
            **variables,
            "JAX_PLATFORMS": "cpu",
            "CUDA_VISIBLE_DEVICES": "",
        }
    if num_gpus < 1:
        variables["XLA_PYTHON_CLIENT_MEM_FRACTION"] = (
            f"{0.9 * num_gpus:.3f}"  # each would take three quarters
        )
    return variables

"""How JAX is set up for tests, before it starts, and Ray for those that need it."""

import os
import tempfile
import time
import warnings

import pytest


def pytest_configure(config):
    # Four simulated devices, for the tests of learners. Tests compile much and compute little: XLA
    # optimises nothing, which takes a third off their time, but where an agent is trained to a
    # threshold; and processes share what they compiled.
    flags = {"--xla_force_host_platform_device_count": "4"}
    if config.option.markexpr.startswith(("not ", "quick")):
        flags["--xla_backend_optimization_level"] = "0"
        if (
            "PYTEST_XDIST_WORKER" not in os.environ
            and "JAX_COMPILATION_CACHE_DIR" not in os.environ
        ):
            config.compiled = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
            os.environ["JAX_COMPILATION_CACHE_DIR"] = config.compiled.name
            os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
            os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    # under `uv run`, too, Ray's processes are in this environment
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    given = os.environ.get("XLA_FLAGS", "")
    added = [f"{flag}={value}" for flag, value in flags.items() if flag not in given]
    os.environ["XLA_FLAGS"] = " ".join([given, *added]).strip()


@pytest.fixture(scope="module", autouse=True)
def forget_compiled_programs():
    """The next module has others: thousands of them would take gigabytes, and time whenever Python
    looks for garbage.
    """
    yield
    import jax

    jax.clear_caches()


@pytest.fixture(scope="session")
def ray_on_this_machine():
    """Ray with room for four actors, whatever the machine has; started once, gone at the end."""
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with warnings.catch_warnings():
        # JAX warns of it; what is forked runs another program
        warnings.filterwarnings("ignore", message=r"os\.fork\(\)")
        ray.init(
            address="local",
            num_cpus=4,
            object_store_memory=200_000_000,
            include_dashboard=False,
            log_to_driver=False,
        )
    yield ray
    ray.shutdown()


@pytest.fixture(scope="session")
def gone():
    """Whether all processes of these ids end; there is time, for a busy machine."""

    def alive(pid):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True

    def gone(pids, seconds=60):
        stop = time.monotonic() + seconds
        while any(map(alive, pids)) and time.monotonic() < stop:
            time.sleep(0.05)
        return not any(map(alive, pids))

    return gone

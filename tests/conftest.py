"""Four simulated devices on a CPU, for the tests of learners, and Ray for those that need it.

The devices must be set before JAX starts, and slow nothing else down.
"""

import os

import pytest

_FLAG = "--xla_force_host_platform_device_count"
if _FLAG not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAG}=4".strip()


@pytest.fixture(scope="session")
def ray_on_this_machine():
    """Ray with room for four actors, whatever the machine has; started once, and gone when the tests end."""
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(address="local", num_cpus=4, object_store_memory=200_000_000, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()

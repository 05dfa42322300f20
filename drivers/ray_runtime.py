"""Ray, imported when it is first needed."""

import os
from typing import Any


def import_ray() -> Any:
    """Ray, told to start its processes in this environment.

    Under `uv run` it would else pack the project's folder and have uv make another environment, which takes minutes. Whoever
    wants that sets RAY_ENABLE_UV_RUN_RUNTIME_ENV=1.
    """
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    import ray

    return ray

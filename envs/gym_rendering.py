"""Takes pictures of gymnasium's environments, on machines without a display too."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import gymnasium


def picture(env: "gymnasium.Env | gymnasium.vector.VectorEnv") -> np.ndarray:
    """Returns a picture of a gymnasium environment's present state.

    Args:
      env: A `gymnasium.Env`, for uint8 `[H, W, 3]`, or a vector environment, for `[n, H, W, 3]`.

    Raises:
      RuntimeError: if it was made without pictures, or MuJoCo could not start OpenGL.
    """
    with _no_display():
        try:
            frame = env.render()
        except Exception as error:
            spec = getattr(env, "envs", [env])[0].spec
            if spec is None or "mujoco" not in str(spec.entry_point):
                raise
            raise RuntimeError(
                f"render: MuJoCo could not start OpenGL ({error}). Without a display, set the "
                "environment variable MUJOCO_GL before the first picture: to 'egl' (a GPU's "
                "driver, or Mesa: apt-get install libegl1) "
                "or to 'osmesa' (apt-get install libosmesa6)"
            ) from error
    if frame is None:
        raise RuntimeError(
            "render: the environment was made without pictures; make it with "
            'render_mode="rgb_array"'
        )
    return np.array(frame, np.uint8)


@contextlib.contextmanager
def _no_display() -> Iterator[None]:
    """Lets SDL and MuJoCo know that there is no display, on a Linux machine without one.

    They draw for gymnasium, and would look for a display otherwise.
    """
    headless = sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ)
    drivers = {"SDL_VIDEODRIVER": "dummy", "MUJOCO_GL": "egl"} if headless else {}
    added = {name: driver for name, driver in drivers.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)

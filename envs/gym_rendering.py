"""Pictures of gymnasium's environments, on machines without a display too."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np


def picture(env: Any) -> np.ndarray:
    """What a gymnasium environment renders, uint8 `[H, W, 3]`, or a vector environment,
    `[n, H, W, 3]`.

    Raises:
      RuntimeError: it was made without pictures, or MuJoCo could not start OpenGL.
    """
    with _no_display():
        try:
            frame = env.render()
        except Exception as error:
            spec = getattr(env, "envs", [env])[0].spec
            if spec is None or "mujoco" not in str(spec.entry_point):
                raise
            raise RuntimeError(
                f"render: MuJoCo could not start OpenGL ({error}). Without a display set the "
                "environment variable MUJOCO_GL, "
                "before the first picture, to 'egl' (a GPU's driver, or Mesa: apt-get install "
                "libegl1) or to 'osmesa' "
                "(apt-get install libosmesa6)"
            ) from error
    if frame is None:
        raise RuntimeError(
            'render: the environment was made without pictures; make it with render_mode="rgb_array"'
        )
    return np.array(frame, np.uint8)


@contextlib.contextmanager
def _no_display() -> Iterator[None]:
    """On a Linux machine without a display, tells SDL and MuJoCo (which draw for gymnasium) so:
    else they look for one.
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

"""Pictures of gymnasium's environments, with and without a display."""

import os
import types

import gymnasium
import numpy as np
import pytest

from jax_agents.envs import gym_rendering
from jax_agents.envs.gym_rendering import picture

DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")
DRIVERS = ("SDL_VIDEODRIVER", "MUJOCO_GL")


class Fake:
    """An environment that renders one frame, and notes the drivers that it would draw with."""

    def __init__(self, frame, entry_point="games:Maze"):
        self.frame = frame
        self.spec = types.SimpleNamespace(entry_point=entry_point)
        self.drivers = {}

    def render(self):
        self.drivers = {name: os.environ.get(name) for name in DRIVERS}
        if isinstance(self.frame, Exception):
            raise self.frame
        return self.frame


@pytest.fixture
def headless(monkeypatch):
    """A Linux machine without a display, where no driver is chosen."""
    monkeypatch.setattr(gym_rendering.sys, "platform", "linux")
    for name in (*DISPLAYS, *DRIVERS):
        monkeypatch.delenv(name, raising=False)


def test_one_environment_and_several():
    env = gymnasium.make("CartPole-v1", render_mode="rgb_array")
    env.reset(seed=0)
    frame = picture(env)
    assert frame.dtype == np.uint8 and frame.shape == (400, 600, 3)
    np.testing.assert_array_equal(frame, env.render())
    vector = gymnasium.make_vec("CartPole-v1", 2, render_mode="rgb_array")
    vector.reset(seed=0)
    assert picture(vector).shape == (2, 400, 600, 3)


def test_a_picture_is_a_copy():
    frame = np.zeros((2, 2, 3), np.uint8)
    picture(Fake(frame))[:] = 7
    assert not frame.any()


def test_an_environment_without_pictures():
    with pytest.raises(RuntimeError, match='make it with render_mode="rgb_array"'):
        picture(Fake(None))


def test_mujoco_without_opengl_says_what_to_set():
    fails = Fake(OSError("no EGL"), "gymnasium.envs.mujoco:HopperEnv")
    with pytest.raises(RuntimeError, match=r"could not start OpenGL \(no EGL\).*MUJOCO_GL"):
        picture(fails)
    several = types.SimpleNamespace(render=fails.render, envs=[fails])
    with pytest.raises(RuntimeError, match="MUJOCO_GL"):
        picture(several)


def test_other_errors_are_raised_as_they_are():
    with pytest.raises(OSError, match="no EGL"):
        picture(Fake(OSError("no EGL")))


def test_drivers_are_chosen_for_the_picture_alone(headless):
    env = Fake(np.zeros((1, 1, 3)))
    picture(env)
    assert env.drivers == {"SDL_VIDEODRIVER": "dummy", "MUJOCO_GL": "egl"}
    assert not set(DRIVERS) & set(os.environ)


def test_a_driver_that_is_set_stays(headless, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    env = Fake(OSError("no OSMesa"))
    with pytest.raises(OSError):
        picture(env)
    assert env.drivers == {"SDL_VIDEODRIVER": "dummy", "MUJOCO_GL": "osmesa"}
    assert os.environ["MUJOCO_GL"] == "osmesa" and "SDL_VIDEODRIVER" not in os.environ


@pytest.mark.parametrize("display", DISPLAYS)
def test_a_display_needs_no_drivers(headless, monkeypatch, display):
    monkeypatch.setenv(display, ":0")
    env = Fake(np.zeros((1, 1, 3)))
    picture(env)
    assert env.drivers == {"SDL_VIDEODRIVER": None, "MUJOCO_GL": None}

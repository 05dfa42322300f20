"""Atari 2600 games with the preprocessing of Machado et al. 2018, by gymnasium and ale-py."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from . import gym
from .environment import Environment
from .types import Trajectory


def make(
    env_id: str,
    num_envs: int | None = None,
    *,
    frame_stack: int = 4,
    frame_skip: int = 4,
    noop_max: int = 30,
    screen_size: int = 84,
    max_episode_frames: int = 108_000,
    terminal_on_life_loss: bool = False,
    clip_rewards: bool = False,
    vectorization: str = "sync",
    render_mode: str | None = "rgb_array",
    env_options: Mapping[str, Any] | None = None,
) -> Environment:
    """Makes an Atari game as a host `Environment`.

    It observes uint8 `[84, 84, 4]`: four grey frames, the newest last. The preprocessing is that of
    Machado et al. 2018, "Revisiting the Arcade Learning Environment": each action is repeated for
    `frame_skip` frames, of which the last two are joined by their maximum, shrunk to 84 x 84;
    episodes begin with 1 to 30 no-ops and are truncated after 30 minutes of play. Sticky actions
    (the last action repeated with probability 0.25) are part of the ids "ALE/...-v5", and not of
    those that end in "NoFrameskip-v4"; `env_options` can set them for both.

    A lost life can end the episode for learning alone: with `terminal_on_life_loss` the discount is
    0 there, so that the values after it do not count, but the step type stays MID, the game goes
    on, and returns are those of whole games. Leave it and `clip_rewards` off where a policy is
    evaluated.

    Args:
      env_id: Id of the game: "ALE/Breakout-v5", or an older "BreakoutNoFrameskip-v4".
      num_envs: Number n of environments, for a leading `[n]` axis; None for one without that axis.
      frame_stack: Number of frames in an observation; `replay.FrameStackReplay` stores each once.
      frame_skip: Number of frames for which an action is repeated.
      noop_max: Greatest number of no-ops at an episode's beginning; 0 for none, as Machado et al.
        recommend for sticky actions.
      screen_size: Number of pixels on each side.
      max_episode_frames: Time limit in frames of the game, no-ops not counted.
      terminal_on_life_loss: True for discount 0 where a life is lost.
      clip_rewards: True to clip rewards to -1 .. 1. Metrics then see the clipped ones: with a
        replay buffer, clip them on the way into it instead (`clip_rewards(buffer.add)`).
      vectorization: Mode of several environments: "sync", or "async" for a process for each
      environment. render_mode: Render mode of gymnasium. env_options: Keyword arguments of ale-py's
      environment, such as
        `{"repeat_action_probability": 0.0}`.

    Raises:
      ValueError: if the game is unknown (the message names the nearest ones), or a number is too
        small.
      ImportError: if the extra is missing; the message names the command that installs it.
    """
    wrapper = preprocessing(
        frame_stack=frame_stack,
        frame_skip=frame_skip,
        noop_max=noop_max,
        screen_size=screen_size,
        max_episode_frames=max_episode_frames,
        terminal_on_life_loss=terminal_on_life_loss,
        clip_rewards=clip_rewards,
    )
    # The emulator's own limit is off: where it ends an episode, gymnasium's preprocessing would
    # return an old picture.
    options = {**(env_options or {}), "frameskip": 1, "max_num_frames_per_episode": 0}
    return gym.make(
        env_id,
        num_envs,
        wrappers=[wrapper],
        render_mode=render_mode,
        vectorization=vectorization,
        env_options=options,
    )


def preprocessing(
    *,
    frame_stack: int = 4,
    frame_skip: int = 4,
    noop_max: int = 30,
    screen_size: int = 84,
    max_episode_frames: int = 108_000,
    terminal_on_life_loss: bool = False,
    clip_rewards: bool = False,
) -> Callable[[Any], Any]:
    """Returns the preprocessing of `make` as a wrapper of gymnasium environments.

    The environment has to be made with `frameskip=1`. For a function that makes an environment:
    `lambda: preprocessing()(gymnasium.make(env_id, frameskip=1))`. The arguments are those of
    `make`.

    Raises:
      ValueError: if there is less than one frame, pixel or repetition.
    """
    for name, value in (
        ("frame_stack", frame_stack),
        ("frame_skip", frame_skip),
        ("screen_size", screen_size),
    ):
        if value < 1:
            raise ValueError(f"{name}: expected at least 1, got {value}")
    if max_episode_frames < frame_skip:
        raise ValueError(
            f"max_episode_frames: expected at least frame_skip={frame_skip}, got "
            f"{max_episode_frames}"
        )
    # Both wrappers are closures, which are pickled by value, so that a spawned process imports
    # gymnasium and not JAX.
    zero_discount = _zero_discount_on_life_loss()

    def wrap(env: Any) -> Any:
        import gymnasium

        wrappers = gymnasium.wrappers
        env = wrappers.AtariPreprocessing(
            env, noop_max=noop_max, frame_skip=frame_skip, screen_size=screen_size
        )
        env = wrappers.TimeLimit(env, max_episode_frames // frame_skip)
        if terminal_on_life_loss:
            env = zero_discount(env)
        if clip_rewards:
            env = wrappers.ClipReward(env, -1.0, 1.0)
        env = wrappers.FrameStackObservation(env, frame_stack)
        channels_last = gymnasium.spaces.Box(
            0, 255, (screen_size, screen_size, frame_stack), np.uint8
        )
        return wrappers.TransformObservation(
            env, lambda frames: np.stack(frames, axis=-1), channels_last
        )

    return wrap


def _zero_discount_on_life_loss() -> Callable[[Any], Any]:
    """Returns a wrapper that puts discount 0 into the info where a life is lost."""

    def wrap(env: Any) -> Any:
        import gymnasium

        class ZeroDiscountOnLifeLoss(gymnasium.Wrapper):
            lives = 0

            def reset(self, *, seed=None, options=None):
                observation, info = self.env.reset(seed=seed, options=options)
                self.lives = info["lives"]
                return observation, info

            def step(self, action):
                observation, reward, terminated, truncated, info = self.env.step(action)
                if info["lives"] < self.lives:
                    info = {**info, "discount": 0.0}
                self.lives = info["lives"]
                return observation, reward, terminated, truncated, info

        return ZeroDiscountOnLifeLoss(env)

    return wrap


def clip_rewards(
    observer: Callable[[Trajectory], Any], limit: float = 1.0
) -> Callable[[Trajectory], None]:
    """Returns an observer that passes rows on with rewards clipped to -limit .. limit.

    Other observers of the same driver see the true rewards (Mnih et al. 2015):
    `observers=[metric, clip_rewards(buffer.add)]`.

    Args:
      observer: Observer to pass rows on to.
      limit: Greatest absolute value of a reward.
    """

    def observe(row: Trajectory) -> None:
        reward = np.clip(row.reward, -limit, limit)
        # NumPy 1 widens a scalar, hence the cast.
        observer(row._replace(reward=reward.astype(row.reward.dtype)))

    return observe

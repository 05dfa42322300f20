"""Atari 2600 games with the standard preprocessing (Machado et al. 2018), through gymnasium and
ale-py.
"""

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
    """An Atari game as a host `Environment` that observes uint8 `[84, 84, 4]`: four grey frames,
    the newest last.

    Preprocessing is that of Machado et al. 2018, "Revisiting the Arcade Learning Environment": each
    action is repeated for `frame_skip` frames, of which the last two are joined by their maximum,
    shrunk to 84 x 84; episodes begin with 1 to 30 no-ops and are truncated after 30 minutes of
    play. Sticky actions (the last action repeated with probability 0.25) are part of the ids
    "ALE/...-v5", and not of those that end in "NoFrameskip-v4"; `env_options` can set them for
    both.

    A life lost ends the episode for learning alone: with `terminal_on_life_loss` the discount is 0
    there, so that no value is taken from what follows, but the step type stays MID, the game goes
    on, and returns are those of whole games. Leave it and `clip_rewards` off where a policy is
    evaluated.

    Args:
      env_id: "ALE/Breakout-v5", or an older "BreakoutNoFrameskip-v4".
      num_envs: None for one environment, unbatched; n for n of them and a leading `[n]` axis.
      frame_stack: frames in an observation; `replay.FrameStackReplay` stores each of them once.
      frame_skip: frames for which an action is repeated.
      noop_max: the most no-ops at an episode's beginning; 0: none, as Machado et al. recommend
        beside sticky actions.
      screen_size: pixels on each side.
      max_episode_frames: the time limit in frames of the game, no-ops not counted.
      terminal_on_life_loss: give discount 0 where a life is lost.
      clip_rewards: cut rewards to -1 .. 1. Metrics then see the cut ones: with a replay buffer, cut
        them on the way into it instead (`clip_rewards(buffer.add)`).
      vectorization: "sync", or "async" for a process each.
      render_mode: gymnasium's.
      env_options: keyword arguments of ale-py's environment, such as
        `{"repeat_action_probability": 0.0}`.

    Raises:
      ValueError: for an unknown game, naming the nearest ones.
      ImportError: if the extra is missing, naming the command that installs it.
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
    """What `make` does, as a wrapper of a gymnasium environment that was made with `frameskip=1`.

    Where a function that makes the environment is wanted:
    `lambda: preprocessing()(gymnasium.make(env_id, frameskip=1))`.

    Raises:
      ValueError: for less than one frame.
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

    def wrap(env: Any) -> Any:
        # All of it is inside: pickled by value, so that a spawned process imports gymnasium and not
        # JAX.
        import gymnasium

        class ZeroDiscountOnLifeLoss(gymnasium.Wrapper):
            """Tells the adapter, in the info, that the discount is 0 where a life is lost."""

            lives = 0

            def reset(self, *, seed=None, options=None):
                observation, info = self.env.reset(seed=seed, options=options)
                self.lives = info["lives"]
                return observation, info

            def step(self, action):
                observation, reward, terminated, truncated, info = self.env.step(action)
                lost, self.lives = info["lives"] < self.lives, info["lives"]
                return (
                    observation,
                    reward,
                    terminated,
                    truncated,
                    {**info, "discount": 0.0} if lost else info,
                )

        wrappers = gymnasium.wrappers
        env = wrappers.AtariPreprocessing(
            env, noop_max=noop_max, frame_skip=frame_skip, screen_size=screen_size
        )
        env = wrappers.TimeLimit(env, max_episode_frames // frame_skip)
        if terminal_on_life_loss:
            env = ZeroDiscountOnLifeLoss(env)
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


def clip_rewards(
    observer: Callable[[Trajectory], Any], limit: float = 1.0
) -> Callable[[Trajectory], None]:
    """The observer, shown rewards cut to -limit .. limit (Mnih et al. 2015):
    `observers=[metric, clip_rewards(buffer.add)]`.

    Other observers of the same driver, metrics say, see the true ones.
    """

    def observe(row: Trajectory) -> None:
        reward = np.clip(row.reward, -limit, limit)
        observer(row._replace(reward=reward.astype(row.reward.dtype)))  # NumPy 1 widens a scalar

    return observe

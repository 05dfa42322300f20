"""Videos of a policy, for files and notebooks."""

import base64
import contextlib
import html
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..envs.environment import Environment
from ..envs.types import Tree
from ..policies.policy import Policy, check_acting
from .returns import check_length, play

if TYPE_CHECKING:
    from IPython.display import HTML

# The errors of `create_policy_eval_video` where no video can be made: without pictures, or without
# ffmpeg.
NO_VIDEO = (ValueError, RuntimeError, ImportError)


def create_policy_eval_video(
    env: Environment,
    policy: Policy,
    filename: str | os.PathLike[str],
    num_episodes: int = 1,
    fps: int = 30,
    params: Tree = None,
    *,
    seed: int = 0,
    max_steps: int = 100_000,
) -> Path:
    """Plays whole episodes and writes an H.264 MP4 of what is rendered; returns its path.

    The file appears when it is complete, in place of one of that name. Frames of odd height or
    width are padded by a pixel, since H.264 wants even ones.

    Args:
      env: Unbatched host environment that renders frames, uint8 `[height, width, 3]`.
      policy: Policy to film, as in `compute_returns`.
      filename: File to write; `.mp4` is added if it is missing, and missing folders are made.
      num_episodes: Number of episodes to show, one after the other.
      fps: Frames, hence environment steps, per second.
      params: Parameters of the policy, `agent.policy_params(state)`; None if it has none.
      seed: Seed of the environment and of the policy's draws.
      max_steps: Greatest number of steps in an episode.

    Raises:
      TypeError: if these are no environment and policy.
      ValueError: if the environment is batched or renders no frames, `num_episodes` or `fps` is
        less than 1, or the policy does not fit the environment.
      RuntimeError: if the environment was made without pictures, or an episode takes more than
        `max_steps` steps.
      OSError: if the video cannot be written, with the message of ffmpeg.
      ImportError: if imageio's ffmpeg is missing.
    """
    if num_episodes < 1 or fps < 1:
        raise ValueError(
            f"expected at least 1 episode and 1 frame per second, got {num_episodes=}, {fps=}"
        )
    check_acting(env, policy)
    if env.num_envs is not None:
        raise ValueError(
            f"a video needs a single environment, got {env.num_envs} in parallel; "
            "make one without num_envs"
        )
    path = Path(filename)
    path = path if path.suffix == ".mp4" else path.with_name(path.name + ".mp4")
    steps = play(env, policy, params, seed)
    next(steps)
    # Before anything is written, so that a wrong environment leaves no file.
    first_frame = _frame(env)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.partial.mp4")
    try:
        with _encoder(partial, fps, first_frame.shape) as write:
            write(first_frame)
            finished = 0
            length = 0
            while finished < num_episodes:
                time_step = next(steps)
                write(_frame(env))
                length = 0 if time_step.is_first() else length + 1
                finished += int(time_step.is_last())
                if not time_step.is_last():
                    check_length(np.array([length]), max_steps)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def embed_mp4(path: str | os.PathLike[str], width: int = 640) -> "HTML":
    """Returns an `IPython.display.HTML` that holds the MP4, so that a saved notebook shows it.

    Args:
      path: Path of the MP4.
      width: Width of the picture in pixels.

    Raises:
      FileNotFoundError: if there is no such file.
      ImportError: if IPython is missing.
    """
    data = Path(path).read_bytes()
    try:
        from IPython.display import HTML
    except ImportError as error:
        raise ImportError(
            'embed_mp4 shows videos in notebooks and needs IPython: pip install "ipython"'
        ) from error
    source = f"data:video/mp4;base64,{base64.b64encode(data).decode()}"
    name = html.escape(Path(path).name)
    return HTML(
        f'<video width="{int(width)}" controls title="{name}">'
        f'<source src="{source}" type="video/mp4"></video>'
    )


@contextlib.contextmanager
def _encoder(
    path: Path, fps: int, shape: tuple[int, ...]
) -> Iterator[Callable[[np.ndarray], None]]:
    """Gives a function that writes one frame of `shape` to the video.

    ffmpeg is run from here because imageio's writer forks through Python code, about which JAX
    warns.
    """
    # A process group of its own: Ctrl-C interrupts Python, which then ends ffmpeg.
    ffmpeg = subprocess.Popen(
        _command(path, fps, shape),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
    )
    assert ffmpeg.stdin is not None
    assert ffmpeg.stderr is not None
    frames = ffmpeg.stdin

    def write(frame: np.ndarray) -> None:
        if frame.shape != shape:
            raise ValueError(
                f"env.render(): expected frames of one size, {list(shape)} as the first, got "
                f"{list(frame.shape)}"
            )
        # A broken pipe means that ffmpeg has ended; the reason is reported below.
        with contextlib.suppress(BrokenPipeError):
            frames.write(frame.tobytes())

    try:
        yield write
        _, message = ffmpeg.communicate()
        if ffmpeg.returncode:
            raise OSError(
                f"ffmpeg could not write {path}: {message.decode(errors='replace').strip()}"
            )
    finally:
        ffmpeg.kill()
        with contextlib.suppress(BrokenPipeError):
            frames.close()
        ffmpeg.stderr.close()
        ffmpeg.wait()


def _command(path: Path, fps: int, shape: tuple[int, ...]) -> list[str]:
    """Returns the command that encodes raw frames of `shape` from its standard input."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe
    except ImportError as error:
        raise ImportError(
            'videos need imageio and its ffmpeg: pip install "imageio[ffmpeg]"'
        ) from error
    source = f"-f rawvideo -pix_fmt rgb24 -s {shape[1]}x{shape[0]} -r {fps} -i -"
    target = "-an -c:v libx264 -pix_fmt yuv420p -movflags +faststart"
    options = ["-y", "-loglevel", "error", *source.split(), *target.split()]
    return [get_ffmpeg_exe(), *options, str(path)]


def _frame(env: Environment) -> np.ndarray:
    frame = env.render()
    shape = np.shape(frame)
    if frame is None or len(shape) != 3 or shape[-1] != 3 or frame.dtype != np.uint8:
        got = (
            "None"
            if frame is None
            else f"{getattr(frame, 'dtype', type(frame).__name__)}{list(shape)}"
        )
        raise ValueError(
            f"env.render() must give uint8 [height, width, 3], got {got}; make the environment "
            "with render_mode='rgb_array'"
        )
    height, width = shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")

"""Videos of a policy, and how to show them in a notebook."""

import base64
import contextlib
import html
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..envs.types import Tree
from ..policies.policy import Policy
from .returns import _check_length, play

# What `create_policy_eval_video` raises where there can be no video: without pictures, or without
# ffmpeg.
NO_VIDEO = (ValueError, RuntimeError, ImportError)


def create_policy_eval_video(
    env: Any,
    policy: Policy,
    filename: str | os.PathLike[str],
    num_episodes: int = 1,
    fps: int = 30,
    params: Tree = None,
    *,
    seed: int = 0,
    max_steps: int = 100_000,
) -> Path:
    """Plays whole episodes, writes what they render as an H.264 MP4, and returns its path.

    The file appears when it is complete; one of that name is replaced. Frames of odd height or
    width are padded by a pixel, since H.264 wants even ones.

    Args:
      env: an unbatched host environment that renders frames, uint8 `[height, width, 3]`.
      policy: what acts, as in `compute_returns`.
      filename: where to write; `.mp4` is added if missing, and missing folders are made.
      num_episodes: how many episodes to show, one after the other.
      fps: frames, hence environment steps, per second.
      params: what the policy needs, `agent.policy_params(state)`; None for policies without
        parameters.
      seed: of the environment and of the policy's draws.
      max_steps: the most steps that an episode may take.

    Raises:
      ValueError: if the environment is batched or renders no frames, `num_episodes` or `fps` is
        less than 1, or the policy does not fit the environment.
      RuntimeError: if the environment was made without pictures, or an episode takes more than
        `max_steps` steps.
      OSError: if the video cannot be written, with what ffmpeg says.
      ImportError: if imageio's ffmpeg is missing.
    """
    if num_episodes < 1 or fps < 1:
        raise ValueError(
            f"expected at least 1 episode and 1 frame per second, got {num_episodes=}, {fps=}"
        )
    if env.num_envs is not None:
        raise ValueError(
            f"a video needs a single environment, got {env.num_envs} in parallel; "
            "make one without num_envs"
        )
    path = Path(filename)
    path = path if path.suffix == ".mp4" else path.with_name(path.name + ".mp4")
    steps = play(env, policy, params, seed)
    next(steps)
    # before anything is written, so that a wrong environment leaves no file
    first_frame = _frame(env)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.partial.mp4")
    try:
        with _encoder(partial, fps, first_frame.shape) as write:
            write(first_frame)
            finished = length = 0
            while finished < num_episodes:
                time_step = next(steps)
                write(_frame(env))
                length = 0 if time_step.is_first() else length + 1
                finished += int(time_step.is_last())
                if not time_step.is_last():
                    _check_length(np.array([length]), max_steps)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def embed_mp4(path: str | os.PathLike[str], width: int = 640) -> Any:
    """An `IPython.display.HTML` that holds the MP4 itself, so that a saved notebook shows it;
    `width` in pixels.

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

    ffmpeg is run from here because imageio's writer forks by way of Python code, of which JAX
    warns.
    """
    try:
        from imageio_ffmpeg import get_ffmpeg_exe
    except ImportError as error:
        raise ImportError(
            'videos need imageio and its ffmpeg: pip install "imageio[ffmpeg]"'
        ) from error
    source = [
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-s",
        f"{shape[1]}x{shape[0]}",
        "-r",
        str(fps),
        "-i",
        "-",
    ]
    target = ["-an", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(path)]
    command = [get_ffmpeg_exe(), "-y", "-loglevel", "error", *source, *target]
    # A process group of its own: Ctrl-C interrupts Python, which then ends ffmpeg.
    ffmpeg: Any = subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0
    )

    def write(frame: np.ndarray) -> None:
        if frame.shape != shape:
            raise ValueError(
                f"env.render(): expected frames of one size, {list(shape)} as the first, got "
                f"{list(frame.shape)}"
            )
        # A broken pipe means that ffmpeg has ended, and why is told below.
        with contextlib.suppress(BrokenPipeError):
            ffmpeg.stdin.write(frame.tobytes())

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
            ffmpeg.stdin.close()
        ffmpeg.stderr.close()
        ffmpeg.wait()


def _frame(env: Any) -> np.ndarray:
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

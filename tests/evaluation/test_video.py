import dataclasses
import logging
import os
import sys
import warnings

import imageio.v2 as imageio
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents import evaluation
from jax_agents.envs.types import PolicyStep


@dataclasses.dataclass(frozen=True, eq=False)
class StillPolicy:
    def initial_state(self, batch_shape=()):
        return ()

    def action(self, params, time_step, state=(), key=None):
        return PolicyStep(jnp.zeros(jnp.shape(time_step.step_type), jnp.int32))


STILL = StillPolicy()


def read(path):
    with imageio.get_reader(path) as reader:
        return reader.get_meta_data(), [np.asarray(frame) for frame in reader]


@pytest.mark.filterwarnings("ignore:os.fork")  # imageio's reader, below
def test_video_has_a_frame_for_every_time_step_without_warnings(countdown, tmp_path, caplog, capfd):
    """Episodes of 2 and 3 steps: 3 frames, then 4; odd sizes, 61 x 83, are padded to even."""
    env = countdown([2, 3], frame_shape=(61, 83, 3))
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        jax.devices()  # JAX warns when a process forks by way of Python code
        path = evaluation.create_policy_eval_video(
            env, STILL, tmp_path / "new folder" / "policy-0.5", num_episodes=2, fps=10
        )
    assert path == tmp_path / "new folder" / "policy-0.5.mp4" and not caplog.records
    assert "WARNING" not in "".join(capfd.readouterr())
    meta, frames = read(path)
    assert meta["fps"] == 10 and meta["codec"] == "h264"
    assert [frame.shape for frame in frames] == [(62, 84, 3)] * 7
    # 40 per step, except for the loss of compression
    red = [int(frame[:, :, 0].mean()) for frame in frames]
    np.testing.assert_allclose(red, [0, 40, 80, 0, 40, 80, 120], atol=12)
    assert [p.name for p in path.parent.iterdir()] == ["policy-0.5.mp4"]


def test_a_failure_leaves_the_old_file_and_no_partial_one(countdown, tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="max_steps=5"):
        evaluation.create_policy_eval_video(
            countdown([10**9], (16, 16, 3)), STILL, path, max_steps=5
        )
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_an_error(countdown, tmp_path):
    (tmp_path / ".a.partial.mp4").symlink_to("/dev/full")
    with pytest.raises(
        OSError, match=r"ffmpeg could not write .*\.a\.partial\.mp4: .*No space left on device"
    ):
        evaluation.create_policy_eval_video(countdown([30], (64, 64, 3)), STILL, tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


def test_errors(countdown, tmp_path, monkeypatch):
    path = tmp_path / "video.mp4"
    with pytest.raises(
        ValueError, match="got None; make the environment with render_mode='rgb_array'"
    ):
        evaluation.create_policy_eval_video(countdown([1], frame_shape=None), STILL, path)
    with pytest.raises(ValueError, match=r"uint8 \[height, width, 3\], got uint8\[6, 9\]"):
        evaluation.create_policy_eval_video(countdown([1], frame_shape=(6, 9)), STILL, path)
    with pytest.raises(ValueError, match="a single environment, got 2 in parallel"):
        evaluation.create_policy_eval_video(countdown([[1], [1]]), STILL, path)
    with pytest.raises(
        ValueError, match="at least 1 episode and 1 frame per second, got num_episodes=0"
    ):
        evaluation.create_policy_eval_video(countdown([1]), STILL, path, num_episodes=0)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ImportError, match=r'pip install "imageio\[ffmpeg\]"'):
        evaluation.create_policy_eval_video(countdown([1]), STILL, path)
    assert not list(tmp_path.iterdir())


def test_embed_mp4_holds_the_file(tmp_path, monkeypatch):
    path = tmp_path / "a<b.mp4"
    path.write_bytes(b"\x00video")
    page = evaluation.embed_mp4(path, width=320)
    assert type(page).__name__ == "HTML"
    assert (
        "data:video/mp4;base64,AHZpZGVv" in page.data
        and 'width="320"' in page.data
        and "a&lt;b.mp4" in page.data
    )
    with pytest.raises(FileNotFoundError, match=r"missing\.mp4"):
        evaluation.embed_mp4(tmp_path / "missing.mp4")
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    with pytest.raises(ImportError, match='pip install "ipython"'):
        evaluation.embed_mp4(path)

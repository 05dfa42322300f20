import numpy as np
import pytest

from jax_agents.experiments.trained.run_folder import RunFolderError
from jax_agents.experiments.training.checkpoints import check_kind, find_checkpoint
from jax_agents.learners.checkpoints import Checkpointer, CheckpointError


def test_checkpoints_by_step_by_path_and_the_newest(tmp_path):
    own = Checkpointer(tmp_path / "mine" / "checkpoints")
    assert find_checkpoint(None, own) == (own, None)
    assert find_checkpoint(7, own) == (own, 7)  # restoring says that there is none
    for step in (3, 4):
        (tmp_path / "other" / "checkpoints" / f"checkpoint_{step:08d}").mkdir(parents=True)
    for path, step in (
        (tmp_path / "other", 4),
        (tmp_path / "other" / "checkpoints" / "checkpoint_00000003", 3),
    ):
        for own_or_none in (own, None):
            found, found_step = find_checkpoint(str(path), own_or_none)
            assert (found.folder, found_step) == (tmp_path / "other" / "checkpoints", step)
    with pytest.raises(ValueError, match="no folder for checkpoints; give it run_folder="):
        find_checkpoint(3, None)
    with pytest.raises(RunFolderError, match="nowhere"):
        find_checkpoint(tmp_path / "nowhere", own)


def test_another_runner_or_replay_is_refused(tmp_path):
    checkpoints = Checkpointer(tmp_path)
    checkpoints.save(1, {"x": np.zeros(2)}, metadata={"runner": "loop", "replay": "host"})
    check_kind(checkpoints, 1, "loop", "host")
    check_kind(checkpoints, 2, "device", "device")  # there is none: for restoring to say
    check_kind(checkpoints, None, "device", "device")
    with pytest.raises(CheckpointError, match="was saved with runner 'loop', not 'device'"):
        check_kind(checkpoints, 1, "device", "device")
    with pytest.raises(CheckpointError, match="was saved with replay 'host', not 'reverb'"):
        check_kind(checkpoints, 1, "loop", "reverb")

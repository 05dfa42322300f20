"""Where a trainer's checkpoint is, and whether it was saved by one of the same kind."""

from pathlib import Path

from ..learners.checkpoints import Checkpointer, CheckpointError
from . import run_folder


def find_checkpoint(checkpoint: int | str | Path | None, own: Checkpointer | None) -> tuple[Checkpointer, int | None]:
    """The checkpoints among which one is meant, and its step there: None if there are none.

    Args:
      checkpoint: a step of `own`; the path of a checkpoint or of a run's folder; None: the newest of `own`.
      own: the trainer's checkpoints; None: it has no folder.

    Raises:
      ValueError: `own` is meant, and there is no such folder.
      RunFolderError: there is nothing at the path.
    """
    if isinstance(checkpoint, str | Path):
        folder, step = run_folder.find_run(checkpoint)
        checkpoints = Checkpointer(folder / run_folder.CHECKPOINTS)
    elif own is None:
        raise ValueError("this trainer has no folder for checkpoints; give it run_folder=...")
    else:
        checkpoints, step = own, checkpoint
    return checkpoints, checkpoints.latest() if step is None else step


def check_kind(checkpoints: Checkpointer, step: int | None, runner: str, replay: str | None) -> None:
    """Raises a CheckpointError if there is such a checkpoint, and its runner or replay (None: any) was another one."""
    if step is None or not checkpoints.path(step).is_dir():
        return
    saved = checkpoints.read_manifest(step)["metadata"]
    for name, mine in (("runner", runner), ("replay", replay)):
        if mine is not None and saved[name] != mine:
            raise CheckpointError(f"{checkpoints.path(step)} was saved with {name} {saved[name]!r}, not {mine!r}")

"""A trainer's checkpoints: their contents, their place, and the kind of trainer that saved them."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...learners.checkpoints import Checkpointer, CheckpointError
from ...learners.checks import check_finite
from ..runners.protocol import Episodes, Runner
from ..trained import run_folder
from .reports import finite

COUNTERS = ("training_iteration", "num_updates", "num_episodes", "time_total", "result")


class Resumable(Protocol):
    """A trainer, as its checkpoints see it."""

    seed: int
    runner_name: str
    replay_name: str
    checkpointer: Checkpointer | None
    training_iteration: int
    recent: list[Episodes]

    @property
    def runner(self) -> Runner:
        """The loop."""


def save(trainer: Resumable) -> Path:
    """Writes a trainer's checkpoint, its replay included; see `Trainer.save`."""
    checkpoints, newest = find_checkpoint(None, trainer.checkpointer)
    state, counters = trainer.runner.state()
    kept = f"{checkpoints.path(newest)} stays the newest" if newest is not None else "there is none"
    check_finite(vars(state["agent"]), f"no checkpoint is saved ({kept})")
    metadata = {name: getattr(trainer, name) for name in COUNTERS}
    # JSON has no NaN.
    recent = [
        (finite(one.mean), one.length, one.number, finite(one.highest), finite(one.lowest))
        for one in trainer.recent
    ]
    metadata |= {
        "runner": trainer.runner_name,
        "replay": trainer.replay_name,
        "recent": recent,
        "counters": counters,
    }
    return checkpoints.save(trainer.training_iteration, state, trainer.runner.replay, metadata)


def restore(trainer: Resumable, checkpoint: int | str | Path | None) -> None:
    """Puts a trainer where one was when it saved; see `Trainer.restore`."""
    own = trainer.checkpointer
    checkpoints, step = find_checkpoint(checkpoint, own)
    if own is not None and checkpoints.folder == own.folder:
        checkpoints = own  # which then knows what it goes on from
    check_kind(checkpoints, step, trainer.runner_name, trainer.replay_name)
    runner = trainer.runner
    state, metadata = checkpoints.restore(runner.state()[0], runner.replay, step)
    entropy = np.random.SeedSequence([trainer.seed, metadata["training_iteration"]])
    seed = int(entropy.generate_state(1)[0]) >> 1
    runner.set_state(state, metadata["counters"], seed)
    for name in COUNTERS:
        setattr(trainer, name, metadata[name])
    recent = metadata["recent"]
    trainer.recent = [Episodes(np.nan if mean is None else mean, *rest) for mean, *rest in recent]
    if checkpoints is own:
        checkpoints.discard_after(trainer.training_iteration)


def check_new(trainer: Resumable) -> None:
    """Checks that a trainer that begins has a folder without the checkpoints of another run.

    Raises:
      CheckpointError: if there are some; nothing is changed.
    """
    own = trainer.checkpointer
    if own is not None and own.followed is None and own.steps():
        raise CheckpointError(
            f"{own.folder} has the checkpoints {own.steps()} of a run, which this new one would "
            "replace: go on from there with restore(), or choose another run_folder"
        )


def find_checkpoint(
    checkpoint: int | str | Path | None, own: Checkpointer | None
) -> tuple[Checkpointer, int | None]:
    """The checkpoints among which one is meant, and its step there: None if there are none.

    Args:
      checkpoint: A step of `own`; the path of a checkpoint or of a run's folder; None for the
        newest of `own`.
      own: The trainer's checkpoints; None if it has no folder.

    Raises:
      ValueError: if `own` is meant, and there is no such folder.
      RunFolderError: if there is nothing at the path.
    """
    if isinstance(checkpoint, str | Path):
        folder, step = run_folder.find_run(checkpoint)
        checkpoints = Checkpointer(folder / run_folder.CHECKPOINTS)
    elif own is None:
        raise ValueError("this trainer has no folder for checkpoints; give it run_folder=...")
    else:
        checkpoints = own
        step = checkpoint
    return checkpoints, checkpoints.latest() if step is None else step


def check_kind(checkpoints: Checkpointer, step: int | None, runner: str, replay: str) -> None:
    """Raises a CheckpointError for a checkpoint that another kind of runner or replay saved."""
    if step is None or not checkpoints.path(step).is_dir():
        return
    saved: dict[str, Any] = checkpoints.read_manifest(step)["metadata"]
    for name, own in (("runner", runner), ("replay", replay)):
        if saved[name] != own:
            raise CheckpointError(
                f"{checkpoints.path(step)} was saved with {name} {saved[name]!r}, not {own!r}"
            )

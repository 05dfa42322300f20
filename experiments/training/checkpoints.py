"""A trainer's checkpoints: what is in one, where it is, and whether it was saved by a trainer of
the same kind.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np

from ...learners.checkpoints import Checkpointer, CheckpointError
from ...learners.compiling import initial_state
from ..trained import run_folder
from .reports import finite

if TYPE_CHECKING:
    from .trainer import Trainer

COUNTERS = ("training_iteration", "num_updates", "num_episodes", "time_total", "result")


def save(trainer: "Trainer") -> Path:
    """Writes a trainer's checkpoint, its replay included; see `Trainer.save`."""
    state, counters = trainer.runner.state()
    metadata = {name: getattr(trainer, name) for name in COUNTERS}
    recent = [
        (finite(mean), length, count) for mean, length, count in trainer.recent
    ]  # JSON has no NaN
    metadata |= {
        "runner": trainer.runner_name,
        "replay": trainer.replay_name,
        "recent": recent,
        "counters": counters,
    }
    checkpoints, _ = find_checkpoint(None, trainer.checkpointer)
    return checkpoints.save(trainer.training_iteration, state, trainer.runner.replay, metadata)


def restore(trainer: "Trainer", checkpoint: int | str | Path | None, acting_only: bool) -> None:
    """Puts a trainer where one was when it saved; see `Trainer.restore`."""
    own = trainer.checkpointer
    checkpoints, step = find_checkpoint(checkpoint, own)
    check_kind(checkpoints, step, trainer.runner_name, None if acting_only else trainer.replay_name)
    if acting_only and trainer.runner_name != "device":
        trainer.acting_state, metadata = checkpoints.restore(
            initial_state(trainer.agent, jax.random.key(0)), step=step
        )
    else:
        state, metadata = checkpoints.restore(
            trainer.runner.state()[0], trainer.runner.replay, step
        )
        seed = np.random.SeedSequence(
            [trainer.seed, metadata["training_iteration"]]
        ).generate_state(1)[0]
        trainer.runner.set_state(state, metadata["counters"], int(seed) >> 1)
    for name in COUNTERS:
        setattr(trainer, name, metadata[name])
    trainer.recent = [
        (np.nan if mean is None else mean, *rest) for mean, *rest in metadata["recent"]
    ]
    if not acting_only and own is not None and checkpoints.folder == own.folder:
        checkpoints.discard_after(trainer.training_iteration)


def find_checkpoint(
    checkpoint: int | str | Path | None, own: Checkpointer | None
) -> tuple[Checkpointer, int | None]:
    """The checkpoints among which one is meant, and its step there: None if there are none.

    Args:
      checkpoint: a step of `own`; the path of a checkpoint or of a run's folder; None: the newest
        of `own`.
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


def check_kind(
    checkpoints: Checkpointer, step: int | None, runner: str, replay: str | None
) -> None:
    """Raises a CheckpointError if there is such a checkpoint, and its runner or replay (None: any)
    was another one.
    """
    if step is None or not checkpoints.path(step).is_dir():
        return
    saved = checkpoints.read_manifest(step)["metadata"]
    for name, mine in (("runner", runner), ("replay", replay)):
        if mine is not None and saved[name] != mine:
            raise CheckpointError(
                f"{checkpoints.path(step)} was saved with {name} {saved[name]!r}, not {mine!r}"
            )

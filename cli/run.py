"""One training run in its folder: from its job to its curve and video."""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UserError, checked, interrupt
from .job import STEPS, Job
from .modules import use as use_modules

if TYPE_CHECKING:
    from ..experiments import TrainedAgent, Trainer

GIVEN_UP = 3  # the exit status of a training whose weights are no longer finite


def run_job(
    job: Job,
    *,
    folder: Path | None = None,
    out: Path = Path("runs"),
    step: int | None = None,
    video: bool = True,
) -> int:
    """Trains, and goes on where a folder holds a checkpoint already; returns the exit status.

    Args:
      job: Run to make.
      folder: Run folder; None for a new one in `out`, made only if the job can be trained.
      out: Folder of new run folders.
      step: Training iteration of the checkpoint to go on from; None for the newest.
      video: Film the trained policy.

    Raises:
      UserError: if the job cannot be trained, the folder is in use, or a checkpoint is damaged.
    """
    import jax

    from ..experiments.training import callbacks
    from ..learners.checks import NonFiniteError

    # docs/performance.md, "In a Python loop on a CPU"
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    trainer, folder, held = _open(job, folder, out)
    signals: list[int] = []  # that have come
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stopper(trainer, signals))
    trainer.callbacks = (
        *callbacks.recorders(folder),
        callbacks.Console(job.stop.get(STEPS)),
        *([callbacks.Monitor(folder)] if job.monitor else []),
    )
    try:
        _resume(trainer, job, step)
        try:
            trainer.run(job.stop, job.checkpoint_freq)
        except NonFiniteError as error:
            return _given_up(trainer, folder, error)
        for callback in trainer.callbacks:
            callback.on_end(trainer)
        if trainer.interrupted:
            print(
                f"interrupted and saved after {trainer.num_steps:,} steps; go on with:\n  "
                f"jax-agents train --resume {folder}"
            )
            return 128 + (signals[0] if signals else signal.SIGINT)  # as shells do
        for number in (signal.SIGINT, signal.SIGTERM):  # all is saved
            signal.signal(number, interrupt)
        _finish(trainer, folder, video)
    finally:
        trainer.close()
        held.close()
    return 0


def _given_up(trainer: "Trainer", folder: Path, error: Exception) -> int:
    """Says what is left of a training that was given up; returns its exit status."""
    for callback in trainer.callbacks:
        callback.on_end(trainer)
    checkpointer: Any = trainer.checkpointer  # there is one, since there is a run folder
    latest = checkpointer.latest()
    kept = "none was saved" if latest is None else str(checkpointer.path(latest))
    print(
        f"jax-agents: error: {error}\nafter {trainer.num_steps:,} steps; the last finite "
        f"checkpoint: {kept}\nrun folder: {folder}",
        file=sys.stderr,
    )
    return GIVEN_UP


def _open(job: Job, folder: Path | None, out: Path) -> tuple["Trainer", Path, contextlib.ExitStack]:
    """The trainer of a job, ready to train, its run folder, and the lock of the folder."""
    from ..experiments.trained import run_folder

    trainer = checked(job.trainer, folder)  # before a folder is made
    is_new = folder is None
    if folder is None:
        folder = run_folder.create_run_folder(out, job.config.algorithm, job.env)
        trainer.set_run_folder(folder)
    held = checked(run_folder.lock, folder)
    try:
        checked(lambda: trainer.runner)  # settings that do not go together are noticed here
    except UserError:
        trainer.close()
        held.close()
        if is_new:
            shutil.rmtree(folder)
            with contextlib.suppress(OSError):  # it holds other runs
                out.rmdir()
        raise
    if job.runner != "device":
        job = dataclasses.replace(job, replay=trainer.replay_name)
    run_folder.write_params(folder, job.params())
    print(
        f"{job.config.algorithm} on {job.env}, {job.runner} runner; replay: {trainer.replay_reason}"
    )
    print(f"run folder: {folder}", flush=True)
    return trainer, folder, held


def _resume(trainer: "Trainer", job: Job, step: int | None) -> None:
    """Restores a checkpoint, if the run folder has one."""
    from ..experiments.training import reports

    if trainer.checkpointer is None or trainer.checkpointer.latest() is None:
        return
    checked(trainer.restore, step)
    print(
        f"resumed after {trainer.num_steps:,} steps, from report {trainer.training_iteration}",
        flush=True,
    )
    if reports.reached(job.stop, trainer.result):
        print(
            f"it has ended there: {json.dumps(job.stop)}; train longer with --steps or --stop",
            flush=True,
        )


def read_job(folder: Path, modules: str | None) -> Job:
    """The job of a run folder.

    Args:
      folder: Folder of the run.
      modules: Folder of modules that the run may name, besides installed ones; None for none.

    Raises:
      UserError: if the folder is not a run's, or names a module that may not be imported.
    """
    from ..experiments.trained import run_folder

    use_modules(modules)
    params = checked(run_folder.read_params, folder)
    return checked(Job.from_params, params, folder, modules)


def load_agent(path: str, modules: str | None = None) -> "TrainedAgent":
    """The trained agent of a run folder or checkpoint; prints what it is."""
    from ..experiments.trained.agent import TrainedAgent

    use_modules(modules)
    trained = checked(lambda: TrainedAgent.load(path, modules=modules))
    print(f"{trained.config.algorithm} on {trained.env}, {trained.checkpoint}")
    return trained


def load_trainer(path: str, modules: str | None = None) -> tuple["Trainer", contextlib.ExitStack]:
    """The trainer of a run folder or checkpoint, to train on, and the lock of the folder.

    It prints what it is. The folder is locked first, since restoring deletes newer checkpoints.

    Raises:
      UserError: if there is no such run or checkpoint, or another process is training there.
    """
    from ..experiments.trained import run_folder

    folder, step = checked(run_folder.find_run, path)
    job = read_job(folder, modules)
    with contextlib.ExitStack() as held:
        held.enter_context(checked(run_folder.lock, folder))
        trainer = checked(job.trainer, folder)
        held.callback(trainer.close)
        checked(trainer.restore, step)
        assert trainer.checkpointer is not None  # it has a folder
        checkpoint = trainer.checkpointer.path(step or trainer.checkpointer.latest() or 0)
        print(f"{job.config.algorithm} on {job.env}, {checkpoint}")
        return trainer, held.pop_all()


def use_gpus(number: float | None) -> None:
    """Holds JAX to the CPU, a part of a GPU's memory, or a GPU.

    Args:
      number: 0 for the CPU, 0.2 for a fifth of a GPU's memory, 1 for a GPU; None leaves the choice
        to JAX.

    Raises:
      UserError: if there is no GPU that JAX can use, or more than one is asked for.
    """
    if number is None:
        return
    if not 0 <= number <= 1:
        raise UserError(
            "--num-gpus: expected a number from 0 to 1, since a run trains on one device, "
            f"got {number:g}"
        )
    if 0 < number < 1:
        # read when JAX first uses the GPU
        os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"] = str(number)
    import jax

    if number == 0:
        jax.config.update("jax_platforms", "cpu")
    elif jax.default_backend() == "cpu":
        os.environ.pop("XLA_PYTHON_CLIENT_MEM_FRACTION", None)
        raise UserError(
            f"--num-gpus {number:g}: JAX sees no GPU here, only {jax.devices()[0].device_kind}; "
            "leave it out to train on the "
            'CPU, or install JAX for your GPU, such as pip install "jax[cuda12]"'
        )


def _finish(trainer: "Trainer", folder: Path, video: bool) -> None:
    """Ends a run: writes the greedy average return, the learning curve and the video."""
    from ..evaluation import EndlessEpisode, plot_learning_curve
    from ..evaluation.video import NO_VIDEO
    from ..experiments.trained import run_folder
    from ..experiments.training import reports

    try:
        returns = trainer.evaluate()
    except EndlessEpisode as error:
        raise UserError(f"trained, and saved in {folder}, but not evaluated: {error}") from error
    evaluation = {  # JSON has no NaN
        "return_mean": reports.finite(float(returns.mean())),
        "returns": [reports.finite(x) for x in returns.tolist()],
        "num_env_steps": trainer.num_steps,
    }
    run_folder.write_file(folder / run_folder.EVALUATION, json.dumps(evaluation) + "\n")
    print(
        f"greedy average return: {returns.mean():.1f} over {len(returns)} episodes "
        f"({returns.min():g} to {returns.max():g})"
    )
    points = [
        result
        for result in run_folder.read_results(folder)
        if result["episode_return_mean"] is not None
    ]
    if points:
        plot_learning_curve(
            [point[STEPS] for point in points],
            [point["episode_return_mean"] for point in points],
            folder / run_folder.CURVE,
            title=f"{trainer.algorithm} on {trainer.env}",
            ylabel="Return, mean of the last training episodes",
        )
        print(f"learning curve: {folder / run_folder.CURVE}")
    if video:
        try:
            print(f"video: {trainer.video(folder / run_folder.VIDEOS / 'greedy.mp4')}")
        except NO_VIDEO as error:
            print(f"no video: {error or type(error).__name__}")
    checkpointer: Any = trainer.checkpointer  # there is one, since there is a run folder
    print(f"checkpoint: {checkpointer.path(checkpointer.latest())}")
    print(f"run folder: {folder}")


def _stopper(trainer: "Trainer", signals: list[int]) -> Callable[[int, Any], None]:
    """A signal handler: the first signal ends the report and saves, a second one ends at once.

    Args:
      trainer: Trainer to interrupt.
      signals: List to which the signals that come are added.
    """

    def stop(number: int, frame: Any) -> None:
        signals.append(number)
        if trainer.interrupted:
            interrupt(number)
        trainer.interrupt()
        print("\ninterrupted: saving (again to end at once)", file=sys.stderr, flush=True)

    return stop

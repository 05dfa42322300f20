"""Callbacks of a trainer: the files of its run folder, TensorBoard, the terminal, and your own."""

import csv
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TextIO

from ...evaluation.video import NO_VIDEO
from ..trained import run_folder


class Training(Protocol):
    """A trainer, as callbacks see it."""

    training_iteration: int
    result: dict[str, Any] | None

    @property
    def num_steps(self) -> int:
        """The number of environment steps so far."""

    def interrupt(self) -> None:
        """Ends the training early."""

    def video(self, filename: str | Path, num_episodes: int = 1) -> Path:
        """Writes a video of the greedy policy."""


class Callback:
    """Hooks of a trainer, which do nothing; override those that you need.

    This one adds a metric, and ends the training for a reason that no number in `stop` could give:
      >>> from jax_agents.experiments import Callback, DqnConfig, Trainer
      >>> class Patience(Callback):
      ...     def __init__(self, num_reports):
      ...         self.num_reports = num_reports
      ...         self.best = -float("inf")
      ...         self.waited = 0
      ...     def on_episode(self, trainer, episode_return, episode_length, num_episodes):
      ...         if episode_return > self.best:
      ...             self.best = episode_return
      ...             self.waited = -1
      ...     def on_train_end(self, trainer, result):
      ...         result["best_return"] = self.best  # in all files and in TensorBoard, too
      ...     def on_report(self, trainer, result):
      ...         self.waited += 1
      ...         if self.waited == self.num_reports:
      ...             trainer.interrupt()
      >>> config = DqnConfig(warmup_steps=2_000, steps_per_report=200)
      >>> patience = [Patience(2)]
      >>> with_patience = Trainer(config, "CartPole-v1", replay="host", callbacks=patience)
      >>> result = with_patience.run({"training_iteration": 10})  # random actions: no progress
      >>> result["training_iteration"] < 10
      True
      >>> result["best_return"] >= result["episode_return_max"]
      True
    """

    def on_start(self, trainer: Training) -> None:
        """Is called before the first report, and before the first one after a restore.

        `trainer.training_iteration` is the number of reports before it.
        """

    def on_train_begin(self, trainer: Training) -> None:
        """Is called before the training of each report."""

    def on_episode(
        self,
        trainer: Training,
        episode_return: float,
        episode_length: float | None,
        num_episodes: int,
    ) -> None:
        """Is called after episodes of training, a little later than each of them.

        On device it is called once in a report, with their means.

        Args:
          trainer: The trainer.
          episode_return: Undiscounted return; the mean of several.
          episode_length: Number of steps; None where it is not known.
          num_episodes: Number of the episodes.
        """

    def on_progress(self, trainer: Training) -> None:
        """Is called several times during a report."""

    def on_train_end(self, trainer: Training, result: dict[str, Any]) -> None:
        """Is called after the training of each report; what is added to `result` is reported."""

    def on_report(self, trainer: Training, result: Mapping[str, Any]) -> None:
        """Is called after each report; a checkpoint of it is saved later."""

    def on_checkpoint(self, trainer: Training, path: Path) -> None:
        """Is called after a checkpoint is on the disk, at `path`."""

    def on_end(self, trainer: Training) -> None:
        """Is called when the trainer is closed, maybe twice."""


class JsonReports(Callback):
    """Appends each report to `result.json`.

    The file of a restored trainer is cut back to its checkpoint first.

    Args:
      folder: Run folder.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def on_start(self, trainer: Training) -> None:
        """Cuts the file back to the reports that the trainer has made."""
        run_folder.cut_results(self.folder, trainer.training_iteration)

    def on_report(self, trainer: Training, result: Mapping[str, Any]) -> None:
        """Appends the report."""
        run_folder.append_result(self.folder, result)


class CsvReports(Callback):
    """Appends each report to `progress.csv`, whose columns grow when a report has new keys.

    It needs `JsonReports` before it.

    Args:
      folder: Run folder.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._columns: list[str] = []

    def on_start(self, trainer: Training) -> None:
        """Forgets the columns, so that the next report writes the whole table."""
        self._columns = []

    def on_report(self, trainer: Training, result: Mapping[str, Any]) -> None:
        """Appends the report, or writes the whole table where it has new keys."""
        if not set(result) <= set(self._columns):
            results = run_folder.read_results(self.folder)
            self._columns = list(dict.fromkeys(key for one in results for key in one))
            run_folder.write_table(self.folder, results)
            return
        with open(self.folder / run_folder.TABLE, "a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(result)


class TensorBoard(Callback):
    """Writes each report's numbers as TensorBoard events, by environment steps.

    Args:
      folder: Run folder.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._writer: Any = None

    def on_start(self, trainer: Training) -> None:
        """Opens the file of events, without those after the trainer's last report."""
        from tensorboardX import SummaryWriter

        self.on_end(trainer)
        steps = (
            0 if trainer.result is None else trainer.result["num_env_steps_sampled_lifetime"] + 1
        )
        self._writer = SummaryWriter(str(self.folder), purge_step=steps, flush_secs=10)

    def on_report(self, trainer: Training, result: Mapping[str, Any]) -> None:
        """Writes the report's numbers."""
        for name, value in result.items():
            if isinstance(value, int | float) and name != "timestamp":
                self._writer.add_scalar(name, value, result["num_env_steps_sampled_lifetime"])

    def on_end(self, trainer: Training) -> None:
        """Closes the file of events."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class Console(Callback):
    """Shows steps per second, return and loss: a progress bar, or plain lines without a terminal.

    Args:
      num_steps: Number of environment steps of the whole run; None if it is not known.
      seconds: Least number of seconds between plain lines.
      file: File to write to; None for standard output.
    """

    def __init__(
        self, num_steps: float | None = None, seconds: float = 5.0, file: TextIO | None = None
    ):
        self._total = num_steps
        self._seconds = seconds
        self._file = sys.stdout if file is None else file
        self._bar: Any = None
        self._last = -float("inf")
        self._status = ""

    def on_start(self, trainer: Training) -> None:
        """Starts the progress bar."""
        if self._bar is None and self._file.isatty():
            from rich import progress
            from rich.console import Console as Terminal

            columns = (
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TextColumn("steps  {task.description}"),
            )
            console = Terminal(file=self._file)
            self._bar = progress.Progress(
                *columns, progress.TimeRemainingColumn(), console=console, refresh_per_second=4
            )
            self._task = self._bar.add_task("warming up", total=self._total)
            self._bar.start()

    def on_progress(self, trainer: Training) -> None:
        """Moves the progress bar."""
        if self._bar is not None:
            self._bar.update(
                self._task, completed=trainer.num_steps, description=self._status or "warming up"
            )

    def on_report(self, trainer: Training, result: Mapping[str, Any]) -> None:
        """Shows the report."""
        parts = [f"{result['steps_per_second']:,.0f} steps/s"]
        for label, key, digits in (("return", "episode_return_mean", 1), ("loss", "loss", 4)):
            parts.append(
                f"{label} {'-' if result.get(key) is None else format(result[key], f'.{digits}f')}"
            )
        self._status = "  ".join(parts)
        if self._bar is not None:
            self.on_progress(trainer)
        elif time.monotonic() - self._last >= self._seconds:
            self._last = time.monotonic()
            print(
                f"{result['num_env_steps_sampled_lifetime']:>9,} steps  {self._status}",
                file=self._file,
                flush=True,
            )

    def on_end(self, trainer: Training) -> None:
        """Ends the progress bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class Monitor(Callback):
    """Films an episode of the greedy policy at each checkpoint, into `videos/`.

    Args:
      folder: Run folder.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def on_checkpoint(self, trainer: Training, path: Path) -> None:
        """Writes the video, or says on standard error why there is none."""
        try:
            trainer.video(self.folder / run_folder.VIDEOS / f"{path.name}.mp4")
        except NO_VIDEO as error:
            print(f"no video: {error}", file=sys.stderr, flush=True)


def recorders(folder: Path) -> tuple[Callback, ...]:
    """Returns the callbacks of every run folder: JSON, a table, and TensorBoard."""
    return JsonReports(folder), CsvReports(folder), TensorBoard(folder)

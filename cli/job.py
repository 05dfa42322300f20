"""A run that the command line describes, and its form in `params.json`."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..experiments import Config, Trainer

STEPS = "num_env_steps_sampled_lifetime"


@dataclasses.dataclass(frozen=True)
class Job:
    """A run to make: a configuration, an environment, and the way to train in it.

    Attributes:
      config: Configuration of the agent.
      env: Name of the environment.
      seed: Seed of everything that is drawn.
      runner: Name of the runner, as `Trainer` takes it.
      replay: Name of the replay, as `Trainer` takes it.
      stop: Numbers that end the run, by keys of results.
      checkpoint_freq: Number of reports from checkpoint to checkpoint; 0 for one at the end.
      monitor: Film an episode at each checkpoint.
      num_workers: Number of actors of runner "ray"; None for another runner.
    """

    config: "Config"
    env: str
    seed: int
    runner: str
    replay: str
    stop: Mapping[str, float]
    checkpoint_freq: int = 10
    monitor: bool = False
    num_workers: int | None = None

    @classmethod
    def from_params(
        cls, params: Mapping[str, Any], folder: Path, modules: str | None = None
    ) -> "Job":
        """Returns the job that a `params.json` describes.

        Args:
          params: Contents of the file, from `run_folder.read_params`.
          folder: Folder that the file is in.
          modules: Folder of modules that it may name, besides installed ones; None for none.

        Raises:
          ValueError: if there is no such algorithm, a setting does not fit, or a module that is
            named may not be imported.
        """
        from ..experiments import make_config
        from ..experiments.trained.modules import import_modules

        import_modules(folder, params, modules=modules)
        config = make_config(params["run"], params["config"])
        names = {field.name for field in dataclasses.fields(cls)} - {"config"}
        given = {name: params[name] for name in names if params.get(name) is not None}
        return cls(config, **({"stop": {STEPS: config.num_steps}} | given))

    def planned(self) -> "Job":
        """Returns the job with a configuration for at least the steps of its stop.

        Schedules follow `num_steps`; where `learning_rate_steps` is given, it stays.
        """
        steps = self.stop.get(STEPS, 0)
        if not self.config.num_steps < steps < float("inf"):
            return self
        config = dataclasses.replace(self.config, num_steps=math.ceil(steps))
        return dataclasses.replace(self, config=config)

    def params(self) -> dict[str, Any]:
        """Returns the contents of `params.json`, from which `from_params` makes the job again."""
        from ..experiments.configs.presets import name_of

        actors = {} if self.num_workers is None else {"num_workers": self.num_workers}
        return {
            "run": name_of(self.config),
            "env": self.env,
            "seed": self.seed,
            "runner": self.runner,
            **actors,
            "replay": self.replay,
            "stop": dict(self.stop),
            "checkpoint_freq": self.checkpoint_freq,
            "monitor": self.monitor,
            "config": self.config.settings(),
        }

    def trainer(self, folder: Path | None = None) -> "Trainer":
        """Returns the trainer of the job; `folder` is its run folder, or None."""
        from ..experiments import Trainer

        return Trainer(
            self.config,
            self.env,
            seed=self.seed,
            run_folder=folder,
            runner=self.runner,
            replay=self.replay,
            num_workers=self.num_workers,
        )

    def check(self) -> None:
        """Raises the errors that making the trainer raises."""
        self.trainer().close()

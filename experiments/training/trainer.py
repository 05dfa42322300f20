"""The trainer: an agent, an environment and a loop, which reports, saves and restores."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from ...agents.agent import TrainState
from ...envs.specs import EnvironmentSpecs
from ...learners.checkpoints import Checkpointer
from ...learners.checks import NonFiniteError
from ..configs.base import Config
from ..configs.presets import check_config, name_of
from ..runners import (
    ActorsRunner,
    Episodes,
    Progress,
    Runner,
    check_runner,
    make_runner,
    merge,
    resolve_replay,
)
from ..trained import run_folder as folders
from ..trained.agent import EVALUATION_SEED, EnvironmentLike, TrainedAgent
from ..trained.environments import check_factory, host_environment, jax_environment
from . import checkpoints
from .callbacks import Callback
from .reports import (
    STEPS,
    Watch,
    make_report,
    metrics_to_report,
    newest,
    reached,
    stop_of,
    warn_of_end,
)


class Trainer(TrainedAgent):
    """Trains the agent of a configuration in an environment, one report at a time.

    It is a `TrainedAgent` as well: it evaluates, films and acts with what it has learned so far.

    Example:
      >>> from jax_agents.experiments import DqnConfig, Trainer
      >>> config = DqnConfig(warmup_steps=20, steps_per_report=60)
      >>> trainer = Trainer(config, "CartPole-v1", replay="host")
      >>> trainer.train()["num_env_steps_sampled_lifetime"]
      60

    Args:
      config: Configuration, such as `DqnConfig()`; its class says which algorithm.
      env: A gymnasium id, a function that makes a gymnasium environment, or a JAX environment.
        Discrete, tuple and dict observations and Atari images are preprocessed
        (`envs.get_preprocessor`), here and wherever the agent acts.
      seed: Seed that makes the run reproducible, except with Reverb, with Ray actors, or after
        resuming a Python loop.
      run_folder: Folder where `save` makes `checkpoints/`; None for a trainer that cannot save.
      callbacks: Callbacks that are called as the training goes on (`callbacks.Callback`).
      runner: "loop" (Python), "vector" (the same, of several environments: `config.num_envs`),
        "device" (JAX environments) or "ray" (`num_workers` actors, among whom `config.num_envs`
        environments are divided).
      replay: Replay of the Python loop, for agents that learn from it: "reverb", "host", or "auto"
        for the former where it is installed.
      keep_checkpoints: Number of the newest checkpoints that are kept.
      make_agent: Function that makes the agent of the configuration and the environment's specs,
        one with a network of your own for example; None for `config.agent`.
      num_workers: Number of actors of runner "ray"; None for 2.

    Raises:
      ValueError: for an unknown environment, one that does not suit the algorithm or the runner, or
        a function that returns the same environment twice.
      TypeError: if `config` is no configuration, or `env` an environment itself.
      ImportError: if something that is asked for is not installed.
    """

    def __init__(
        self,
        config: Config,
        env: EnvironmentLike,
        *,
        seed: int = 0,
        run_folder: str | Path | None = None,
        callbacks: Sequence[Callback] = (),
        runner: str = "loop",
        replay: str = "auto",
        keep_checkpoints: int = 3,
        make_agent: Callable[[Any, EnvironmentSpecs], Any] | None = None,
        num_workers: int | None = None,
    ):
        check_config(config)
        check_runner(runner, config)
        if num_workers and (num_workers < 0 or runner != "ray"):
            raise ValueError(
                f"num_workers={num_workers}: expected a number of actors, of runner 'ray', "
                f"got runner {runner!r}"
            )
        if not 0 <= seed < 2**31 - EVALUATION_SEED:
            raise ValueError(f"seed: expected 0 to {2**31 - EVALUATION_SEED - 1}, got {seed}")
        self.runner_name = runner
        self.callbacks: tuple[Callback, ...] = tuple(callbacks)
        self.keep_checkpoints = keep_checkpoints
        self.set_run_folder(run_folder)
        self.training_iteration = 0
        self.num_updates = 0
        self.num_episodes = 0
        self.time_total = 0.0
        self.result: dict[str, Any] | None = None
        self.interrupted = False
        self.recent: list[Episodes] = []  # the newest, of which a report has the average return
        self._started = False
        self._warned_of_end = False
        self._watch = Watch()
        config.check_source()
        self.replay_name, self.replay_reason = resolve_replay(runner, config, replay)
        self._env: Any
        if runner == "device":
            self._env = jax_environment(env, config.max_episode_steps)
        else:
            num_envs = None if config.num_envs == 1 else config.num_envs
            self._env = host_environment(env, num_envs, config.max_episode_steps)
            check_factory(env)
        self._make_agent = config.agent if make_agent is None else partial(make_agent, config)
        self.num_workers = 2 if num_workers is None else num_workers
        super().__init__(self._make_agent(self._env.specs), env, config, self._env, seed)

    @property
    def algorithm(self) -> str:
        """The name of the algorithm."""
        return self.config.algorithm

    @cached_property
    def runner(self) -> Runner:
        """The loop; made when it is first needed, since a trainer may be made for a look at it."""
        folder = None if self.run_folder is None else self.run_folder / "checkpoints"
        make_env = partial(
            host_environment, self.env, max_episode_steps=self.config.max_episode_steps
        )
        actors = None
        if self.runner_name == "ray":
            actors = (make_env, self._make_agent, self.num_workers)
        return make_runner(
            self.config, self.agent, self._env, self.seed, self.replay_name, folder, actors
        )

    @property
    def train_state(self) -> TrainState:
        """The agent's state, a copy; may be set, to act with or to go on from."""
        return self.runner.train_state

    @train_state.setter
    def train_state(self, state: TrainState) -> None:
        self.runner.train_state = state

    @property
    def num_steps(self) -> int:
        """The number of environment steps so far, those before a restore included."""
        return self.runner.num_steps

    def set_run_folder(self, folder: str | Path | None) -> None:
        """Sets the folder to save in; before the first `train`."""
        self.run_folder = None if folder is None else Path(folder).absolute()
        self.checkpointer = (
            Checkpointer(self.run_folder / "checkpoints", self.keep_checkpoints)
            if self.run_folder
            else None
        )

    def interrupt(self) -> None:
        """Ends the current report early, and then `run`; a signal handler may call it."""
        self.interrupted = True

    def train(self) -> dict[str, Any]:
        """Trains up to the next multiple of `config.steps_per_report` steps.

        Returns:
          A flat dict with `RESULT_KEYS` and the agent's metrics, which callbacks get too.
          `episode_*` are over the last 20 training episodes that ended; a value that is not known
          yet is None; times are in seconds.

        Raises:
          NonFiniteError: if the parameters, or 100 updates in a row, are not finite numbers; the
            report of that was given to the callbacks.
          CheckpointError: if a new run begins in a folder that has the checkpoints of another.
        """
        if not self._started:
            checkpoints.check_new(self)
            self._started = True
            for callback in self.callbacks:
                callback.on_start(self)
        for callback in self.callbacks:
            callback.on_train_begin(self)
        begin = time.perf_counter()
        start = self.num_steps
        self._warn_of_end(start + 1)
        parts: list[Progress] = []
        end = (start // self.config.steps_per_report + 1) * self.config.steps_per_report
        gave_up: NonFiniteError | None = None
        while self.num_steps < end and not (self.interrupted and self.num_steps > start):
            progress = self.runner.advance(min(self.runner.chunk, end - self.num_steps))
            parts.append(progress)
            self.num_episodes += sum(episode.number for episode in progress.episodes)
            self.recent = newest(self.recent + progress.episodes)
            for callback in self.callbacks:
                for episode in progress.episodes:
                    callback.on_episode(self, episode.mean, episode.length, episode.number)
                callback.on_progress(self)
            try:
                self._watch.check(progress, lambda: self.train_state)
            except NonFiniteError as error:
                gave_up = error
                break
        self.training_iteration += 1
        total = merge(parts)
        self.num_updates += total.num_updates
        seconds = time.perf_counter() - begin + total.seconds
        self.time_total += seconds
        counters = {name: getattr(self, name) for name in checkpoints.COUNTERS}
        counters["num_steps"] = self.num_steps
        report = make_report(counters, self.recent, self.num_steps - start, seconds)
        self.result = report | metrics_to_report(total.metrics)
        for callback in self.callbacks:
            callback.on_train_end(self, self.result)
        for callback in self.callbacks:
            callback.on_report(self, self.result)
        if gave_up is not None:
            raise gave_up
        return self.result

    def run(
        self,
        stop: Mapping[str, float] | None = None,
        checkpoint_freq: int = 10,
        checkpoint_at_end: bool = True,
    ) -> dict[str, Any]:
        """Trains until a result reaches one of the numbers in `stop`, or `interrupt`.

        Args:
          stop: Numbers by keys of `RESULT_KEYS`; None for
            `{"num_env_steps_sampled_lifetime": config.num_steps}`.
          checkpoint_freq: Number of reports from checkpoint to checkpoint; 0 for none on the way.
          checkpoint_at_end: Save one more at the end.

        Returns:
          The last result.

        Raises:
          ValueError: for an unknown key in `stop`, or a value that is not a number.
          NonFiniteError: as from `train`; the last checkpoints, which are finite, stay.
        """
        for _ in self.reports(stop, checkpoint_freq, checkpoint_at_end):
            pass
        return self.result or {}

    def reports(
        self,
        stop: Mapping[str, float] | None = None,
        checkpoint_freq: int = 10,
        checkpoint_at_end: bool = True,
    ) -> Iterator[dict[str, Any]]:
        """Does what `run` does, and gives a result at a time, as it is asked for.

        A checkpoint of a result is saved before the result is given.
        """
        stop = stop_of(stop, self.config.num_steps)
        if not reached(stop, self.result):
            # without a number of steps it is not known how far it goes
            self._warn_of_end(stop.get(STEPS, 0))
        last_saved = self.training_iteration
        while not self.interrupted and not reached(stop, self.result):
            result = self.train()
            due = checkpoint_freq and self.training_iteration % checkpoint_freq == 0
            if due and self.checkpointer:
                self.save()
                last_saved = self.training_iteration
            yield result
        if self.checkpointer and checkpoint_at_end and last_saved != self.training_iteration:
            self.save()

    def _warn_of_end(self, num_steps: float) -> None:
        """Warns, once, if training this far goes on after a rate has fallen to 0."""
        until = self.config.learns_until
        if not self._warned_of_end and until is not None and num_steps > until:
            self._warned_of_end = True
            warn_of_end(self.config, num_steps)

    def params(self) -> dict[str, Any]:
        """The description of the run, from which it can be made again, as `params.json` has it."""
        return {
            "run": name_of(self.config),
            "env": self.env if isinstance(self.env, str) else repr(self.env),
            "seed": self.seed,
            "runner": self.runner_name,
            **({"num_workers": self.num_workers} if self.runner_name == "ray" else {}),
            "replay": self.replay_name,
            "config": self.config.settings(),
        }

    def save(self) -> Path:
        """Writes a checkpoint, replay included, from which `restore` goes on; returns its folder.

        Writes `params.json` too, if it is not there, by which `TrainedAgent.load` finds its way.

        Raises:
          ValueError: the trainer has no run folder.
          NonFiniteError: the weights are not finite; the earlier checkpoints stay.
          CheckpointError: another run has a checkpoint of this number, or later ones, there.
          OSError: it could not be written; the earlier ones are whole.
        """
        path = checkpoints.save(self)
        if self.run_folder is not None and not (self.run_folder / folders.PARAMS).exists():
            folders.write_params(self.run_folder, self.params())
        for callback in self.callbacks:
            callback.on_checkpoint(self, path)
        return path

    def restore(self, checkpoint: int | str | Path | None = None) -> None:
        """Goes on from a checkpoint; newer ones of this run are deleted, since its course differs.

        To act only, use `TrainedAgent.load`.

        Args:
          checkpoint: Training iteration of the checkpoint, or the path that `save` returned, here
            or in another run; None for the newest.

        Raises:
          ValueError: if the trainer has no run folder, and no path was given.
          RunFolderError: if there is nothing at the path.
          FileNotFoundError: if there is no such checkpoint.
          CheckpointError: if it is damaged, or was saved by another kind of trainer.
        """
        checkpoints.restore(self, checkpoint)
        self._started = False

    def foreach_worker(self, function: Callable[[Any], Any]) -> list[Any]:
        """Calls a function with each worker and returns the results.

        The local worker, the trainer itself, comes first. The others are the actors of runner
        "ray", in their order, each as a `runners.Worker`, which like the trainer has `agent`,
        `policy_params`, `get_policy()` and its own `num_steps`. The function is sent there by
        cloudpickle. Weights set on the trainer reach them by `sync_workers`, or when the next
        report begins.

        Raises:
          RuntimeError: if the function raises in an actor; the message has the traceback.
        """
        return self.foreach_worker_with_index(lambda worker, _: function(worker))

    def foreach_worker_with_index(self, function: Callable[[Any, int], Any]) -> list[Any]:
        """Does what `foreach_worker` does, for a function of (worker, index); number 0 is local."""
        others = self._actors.foreach_worker(function) if self._actors else []
        return [function(self, 0), *others]

    def sync_workers(self) -> None:
        """Has the actors act with the weights as they are now; without actors it does nothing."""
        if self._actors:
            self._actors.sync_workers()

    @property
    def _actors(self) -> ActorsRunner | None:
        if self.runner_name != "ray":
            return None
        return self.runner if isinstance(self.runner, ActorsRunner) else None

    def __repr__(self) -> str:
        name = self.env
        if not isinstance(name, str):
            name = getattr(name, "__name__", type(name).__name__)
        steps = f"{self.num_steps:,} steps, " if "runner" in self.__dict__ else ""
        reports = f"{self.training_iteration} report{'s' * (self.training_iteration != 1)}"
        runner = f"runner {self.runner_name!r}"
        return f"Trainer({self.algorithm} on {name}, {runner}, {steps}{reports})"

    def close(self) -> None:
        """Ends the callbacks, and frees the environment and the buffer; may be called twice."""
        for callback in self.callbacks:
            callback.on_end(self)
        if "runner" in self.__dict__:
            self.runner.close()
        unused = "runner" not in self.__dict__ and self.runner_name != "device"
        if unused or self.runner_name == "ray":
            self._env.close()

"""The trainer: an agent, an environment and a loop, wired as a notebook would, that reports, saves
and restores.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from ...agents.agent import TrainState
from ...envs import JaxEnvironment
from ...envs.environment import Environment
from ...envs.preprocessing import Preprocessor, preprocessor_of
from ...envs.specs import EnvironmentSpecs
from ...envs.types import Tree
from ...evaluation import compute_returns, create_policy_eval_video
from ...learners.checkpoints import Checkpointer
from ..configs.presets import preset_of
from ..runners import ActorsRunner, Episodes, Runner, check_runner, make_runner, resolve_replay
from ..trained.environments import host_environment, jax_environment
from ..trained.introspection import TrainedPolicy
from . import checkpoints as saved
from .callbacks import Callback
from .reports import Tally, check_stop, make_report, newest, reached

_EVALUATION_SEED = 1_000_000  # added to the run's: evaluation sees other episodes than training


class Trainer:
    """Trains the agent of a configuration in an environment, one report at a time.

    Example:
      >>> from jax_agents.experiments import DqnConfig, Trainer
      >>> trainer = Trainer(DqnConfig(warmup_steps=20, steps_per_report=60), "CartPole-v1", replay="host")
      >>> trainer.train()["num_env_steps_sampled_lifetime"]
      60

    Args:
      config: a preset's configuration, such as `DqnConfig()`; its class says which algorithm.
      env: a gymnasium id, a function that makes a gymnasium environment, or a JAX environment.
        Discrete, tuple and dict observations and Atari images are preprocessed
        (`envs.get_preprocessor`), here and wherever the agent acts.
      seed: of everything that is drawn; runs are functions of it, but for Reverb and for resuming
        in the Python loop.
      run_folder: where `save` puts `checkpoints/`; None: a trainer that cannot save.
      callbacks: told what happens (`callbacks.Callback`).
      runner: "loop" (Python), "vector" (the same, of several environments: `config.num_envs`),
        "device" (JAX environments) or "ray" (`num_workers` actors, among whom `config.num_envs`
        environments are divided).
      replay: of the Python loop, for agents that learn from replay: "reverb", "host", or "auto":
        the former where it is installed.
      keep_checkpoints: how many.
      make_agent: makes the agent of the configuration and the environment's specs, one with a
        network of your own, say; None: the preset's function.
      num_workers: actors of runner "ray"; None: 2.

    Raises:
      ValueError: an unknown environment, or one that does not suit the algorithm or the runner.
      TypeError: `config` is no preset's, or `env` an environment itself.
      ImportError: something that is asked for is not installed.
    """

    def __init__(
        self,
        config: Any,
        env: str | Callable[[], Any] | JaxEnvironment,
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
        self.algorithm, preset = preset_of(config)
        check_runner(runner, config)
        if num_workers and (num_workers < 0 or runner != "ray"):
            raise ValueError(
                f"num_workers={num_workers}: expected a number of actors, of runner 'ray', got "
                f"runner {runner!r}"
            )
        if not 0 <= seed < 2**31 - _EVALUATION_SEED:
            raise ValueError(f"seed: expected 0 to {2**31 - _EVALUATION_SEED - 1}, got {seed}")
        self.config, self.env, self.seed = config, env, seed
        self.runner_name, self.callbacks = runner, tuple(callbacks)
        self.keep_checkpoints = keep_checkpoints
        self.set_run_folder(run_folder)
        self.training_iteration, self.num_updates, self.num_episodes, self.time_total = 0, 0, 0, 0.0
        self.result: dict[str, Any] | None = None
        self.interrupted = False
        self.recent: list[Episodes] = []  # the newest, of which a report has the average return
        self.acting_state: TrainState | None = None  # restored for acting only
        self._started = False
        self.replay_name, self.replay_reason = resolve_replay(runner, config, replay)
        if runner == "device":
            self._env: Any = jax_environment(env, config.max_episode_steps)
        else:
            self._env = self.make_environment(None if config.num_envs == 1 else config.num_envs)
        self._make_agent = partial(make_agent or preset.make_agent, config)
        self.num_workers = 2 if num_workers is None else num_workers
        self.agent = self._make_agent(self._env.specs)

    @cached_property
    def runner(self) -> Runner:
        """The loop; made when it is first needed, since acting does without it."""
        folder = None if self.run_folder is None else self.run_folder / "checkpoints"
        make_env = partial(
            host_environment, self.env, max_episode_steps=self.config.max_episode_steps
        )
        actors = (
            (make_env, self._make_agent, self.num_workers) if self.runner_name == "ray" else None
        )
        return make_runner(
            self.config, self.agent, self._env, self.seed, self.replay_name, folder, actors
        )

    @cached_property
    def _policy(self) -> TrainedPolicy:
        return TrainedPolicy(self, self._env)

    @property
    def train_state(self) -> TrainState:
        """The agent's state, a copy; may be set, to act with or to go on from."""
        return self.runner.train_state if self.acting_state is None else self.acting_state

    @train_state.setter
    def train_state(self, state: TrainState) -> None:
        if self.acting_state is None:
            self.runner.train_state = state
        else:
            self.acting_state = state

    @property
    def policy_params(self) -> Tree:
        """What `agent.policy` and `agent.collect_policy` need."""
        return self.agent.policy_params(self.train_state)

    @property
    def num_steps(self) -> int:
        """Environment steps so far, those before a restore included."""
        return self.runner.num_steps

    @property
    def evaluation_seed(self) -> int:
        """Of the episodes of `evaluate`; episode i of n in parallel has this plus i."""
        return self.seed + _EVALUATION_SEED

    def set_run_folder(self, folder: str | Path | None) -> None:
        """Says where to save; before the first `train`."""
        self.run_folder = None if folder is None else Path(folder).absolute()
        self.checkpointer = (
            Checkpointer(self.run_folder / "checkpoints", self.keep_checkpoints)
            if self.run_folder
            else None
        )

    def interrupt(self) -> None:
        """Ends the report under way early, and `run` after it; may be called from a signal
        handler.
        """
        self.interrupted = True

    def train(self) -> dict[str, Any]:
        """Trains up to the next multiple of `config.steps_per_report` steps.

        Returns:
          A flat dict with `RESULT_KEYS` and the agent's metrics, which callbacks get too.
          `episode_*` are over the last 20 training episodes that ended; what cannot be told yet is
          None; times are in seconds.
        """
        self.acting_state = None
        if not self._started:
            self._started = True
            for callback in self.callbacks:
                callback.on_start(self)
        for callback in self.callbacks:
            callback.on_train_begin(self)
        begin, start, tally = time.perf_counter(), self.num_steps, Tally()
        end = (start // self.config.steps_per_report + 1) * self.config.steps_per_report
        while self.num_steps < end and not (self.interrupted and self.num_steps > start):
            progress = self.runner.advance(min(self.runner.chunk, end - self.num_steps))
            tally.add(progress)
            self.num_episodes += sum(count for *_, count in progress.episodes)
            self.recent = newest(self.recent + progress.episodes)
            for callback in self.callbacks:
                for episode in progress.episodes:
                    callback.on_episode(self, *episode)
                callback.on_progress(self)
        self.training_iteration += 1
        self.num_updates += tally.num_updates
        seconds = time.perf_counter() - begin + tally.seconds
        self.time_total += seconds
        counters = {name: getattr(self, name) for name in saved.COUNTERS} | {
            "num_steps": self.num_steps
        }
        self.result = (
            make_report(counters, self.recent, self.num_steps - start, seconds) | tally.metrics()
        )
        for callback in self.callbacks:
            callback.on_train_end(self, self.result)
        for callback in self.callbacks:
            callback.on_report(self, self.result)
        return self.result

    def run(
        self,
        stop: Mapping[str, float] | None = None,
        checkpoint_freq: int = 10,
        checkpoint_at_end: bool = True,
    ) -> dict[str, Any]:
        """Trains until a result reaches one of the numbers in `stop`, or `interrupt`; returns the
        last result.

        Args:
          stop: by keys of `RESULT_KEYS`; None:
            `{"num_env_steps_sampled_lifetime": config.num_steps}`.
          checkpoint_freq: reports from checkpoint to checkpoint; 0: none on the way.
          checkpoint_at_end: save one more at the end.

        Raises:
          ValueError: an unknown key in `stop`, or a value that is not a number.
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
        """What `run` does, a result at a time, as it is asked for; a checkpoint of a result is
        saved before it is given.
        """
        stop = check_stop(
            {"num_env_steps_sampled_lifetime": self.config.num_steps} if stop is None else stop
        )
        last_saved = self.training_iteration
        while not self.interrupted and not reached(stop, self.result):
            result = self.train()
            if (
                checkpoint_freq
                and self.training_iteration % checkpoint_freq == 0
                and self.checkpointer
            ):
                self.save()
                last_saved = self.training_iteration
            yield result
        if self.checkpointer and checkpoint_at_end and last_saved != self.training_iteration:
            self.save()

    def save(self) -> Path:
        """Writes a checkpoint, replay included, from which `restore` goes on; returns its folder.

        Raises:
          ValueError: the trainer has no run folder.
          OSError: it could not be written; the earlier ones are whole.
        """
        path = saved.save(self)
        for callback in self.callbacks:
            callback.on_checkpoint(self, path)
        return path

    def restore(
        self, checkpoint: int | str | Path | None = None, *, acting_only: bool = False
    ) -> None:
        """Goes on from a checkpoint; newer ones of this run are deleted, since it takes another
        course from there.

        Args:
          checkpoint: its training iteration; or what `save` returned, here or in another run; None:
            the newest.
          acting_only: restore what `evaluate` needs, without replay, and delete nothing.

        Raises:
          ValueError: the trainer has no run folder, and no path was given.
          RunFolderError: there is nothing at the path.
          FileNotFoundError: there is no such checkpoint.
          CheckpointError: it is damaged, or was saved by another kind of trainer.
        """
        saved.restore(self, checkpoint, acting_only)
        self._started = False

    def evaluate(self, num_episodes: int = 20) -> np.ndarray:
        """The undiscounted returns of the greedy policy, float64 `[num_episodes]`, in episodes of
        their own seeds.
        """
        with closing(self.make_environment(min(10, num_episodes))) as env:
            return compute_returns(
                env, self.agent.policy, num_episodes, self.policy_params, seed=self.evaluation_seed
            )

    def video(self, filename: str | Path, num_episodes: int = 1) -> Path:
        """Writes a video of the greedy policy; see `evaluation.create_policy_eval_video`."""
        params, seed = self.policy_params, self.evaluation_seed
        with closing(self.make_environment(None)) as env:
            return create_policy_eval_video(
                env, self.agent.policy, filename, num_episodes, params=params, seed=seed
            )

    def make_environment(self, num_envs: int | None = None, preprocess: bool = True) -> Environment:
        """Another host environment like the one that is trained in: unbatched, or `num_envs` of
        them.

        `preprocess=False`: it observes what `preprocessor` is given.
        """
        return host_environment(self.env, num_envs, self.config.max_episode_steps, preprocess)

    @property
    def preprocessor(self) -> Preprocessor | None:
        """What makes the agent's observations of gymnasium's, everywhere; None: they are the
        same.
        """
        return preprocessor_of(self._env)

    def get_policy(self) -> TrainedPolicy:
        """The policy as it is now: its weights, distributions, values and parts."""
        return self._policy

    def compute_action(self, observation: Any, state: Tree = None, *, explore: bool = False) -> Any:
        """The action for one observation as the environment returned it; see
        `TrainedPolicy.compute_action`.
        """
        return self._policy.compute_action(observation, state, explore=explore)

    def import_weights(self, source: Any) -> None:
        """Replaces the weights by those of a `.npz` or `.msgpack` file, or of a tree; see
        `weights.import_weights`.
        """
        self._policy.import_weights(source)

    def foreach_worker(self, function: Callable[[Any], Any]) -> list[Any]:
        """Calls a function with each worker, the local one (the trainer itself) first, and returns
        the results.

        The others are the actors of runner "ray", in their order, each as a `runners.Worker`: like
        the trainer it has `agent`, `policy_params`, `get_policy()` and `num_steps`, its own. The
        function is sent there by cloudpickle. Weights set on the trainer reach them by
        `sync_workers`, or when the next report begins.

        Raises:
          RuntimeError: the function has raised in an actor; the message has the traceback.
        """
        return self.foreach_worker_with_index(lambda worker, _: function(worker))

    def foreach_worker_with_index(self, function: Callable[[Any, int], Any]) -> list[Any]:
        """As `foreach_worker`, for a function of (worker, index); the local worker is number 0."""
        return [function(self, 0), *(self._actors.foreach_worker(function) if self._actors else [])]

    def sync_workers(self) -> None:
        """Has the actors act with the weights as they are now; does nothing where there are
        none.
        """
        if self._actors:
            self._actors.sync_workers()

    @property
    def _actors(self) -> ActorsRunner | None:
        trains = self.runner_name == "ray" and self.acting_state is None
        return self.runner if trains and isinstance(self.runner, ActorsRunner) else None

    def __repr__(self) -> str:
        steps = f"{self.num_steps:,} steps, " if "runner" in self.__dict__ else ""
        reports = f"{steps}{self.training_iteration} {'report' if self.training_iteration == 1 else 'reports'}"
        return f"Trainer({self.algorithm} on {_name(self.env)}, runner {self.runner_name!r}, {reports})"

    def close(self) -> None:
        """Ends the callbacks, and frees the environment and the buffer; may be called twice."""
        for callback in self.callbacks:
            callback.on_end(self)
        if "runner" in self.__dict__:
            self.runner.close()
        if self.runner_name == "ray" or (
            "runner" not in self.__dict__ and self.runner_name != "device"
        ):
            self._env.close()


def _name(env: Any) -> str:
    return env if isinstance(env, str) else getattr(env, "__name__", type(env).__name__)

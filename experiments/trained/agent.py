"""A trained agent: what a run has learned, to evaluate, film, ask and look into."""

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ...agents.agent import Agent, TrainState
from ...envs.environment import Environment, JaxEnvironment
from ...evaluation import compute_returns, create_policy_eval_video
from ...learners.checkpoints import Checkpointer
from ...learners.compiling import initial_state
from ..configs.base import Config
from ..configs.presets import make_config
from . import run_folder
from .environments import host_environment, jax_environment
from .modules import import_modules
from .policy import TrainedPolicy

EVALUATION_SEED = 1_000_000  # added to the run's: evaluation sees other episodes than training
EnvironmentLike = str | Callable[[], Any] | JaxEnvironment  # as `Trainer` takes it


class TrainedAgent(TrainedPolicy):
    """An agent with its state and its environment: evaluate it, film it, ask it, or look into it.

    `TrainedAgent.load` makes one of a run folder, and a `Trainer` is one.

    Args:
      agent: The agent.
      env: Environment to act in: a gymnasium id, a function that makes a gymnasium environment, or
        a JAX environment.
      config: Configuration of the agent.
      like: Environment of this kind, which is neither stepped nor kept.
      seed: Seed of the run.
      train_state: State of the agent; None if a subclass has it elsewhere.

    Attributes:
      config: The configuration.
      env: The environment, as given.
      checkpoint: Path of the checkpoint that it was loaded from, or None.
    """

    def __init__(
        self,
        agent: Agent,
        env: EnvironmentLike,
        config: Config,
        like: Any,
        seed: int = 0,
        train_state: TrainState | None = None,
    ):
        super().__init__(agent, like, seed)
        self.env = env
        self.config = config
        self.checkpoint: Path | None = None
        self._train_state = train_state

    @property
    def train_state(self) -> TrainState:
        """The agent's state; may be set."""
        assert self._train_state is not None  # a subclass that has none says where it is
        return self._train_state

    @train_state.setter
    def train_state(self, state: TrainState) -> None:
        self._train_state = state

    @staticmethod
    def load(
        path: str | os.PathLike[str],
        env: EnvironmentLike | None = None,
        config: Config | None = None,
        *,
        modules: str | os.PathLike[str] | None = None,
    ) -> "TrainedAgent":
        """The agent that a run has trained.

        A run folder may be anyone's: modules that it names are imported from installed packages
        alone, or stay what this process has imported before.

        Args:
          path: Folder of a run, whose newest checkpoint is read, or a checkpoint.
          env: Environment to act in, if the run's has no name; None for the run's.
          config: Configuration, if the run's class cannot be imported; None for the run's.
          modules: Folder that you trust, of modules that the run may name too; None for none.

        Raises:
          RunFolderError: if there is no run, or its parameters are damaged.
          ValueError: if a module that the run names is not installed or cannot be imported; import
            it first, or pass `modules`, or `config` and `env`.
          FileNotFoundError: if there is no such checkpoint.
          CheckpointError: if the checkpoint is damaged, or of another kind of agent.
        """
        folder, step = run_folder.find_run(path)
        params = run_folder.read_params(folder)
        used = {"run": config, "env": env}
        import_modules(folder, params, [name for name in used if used[name] is None], modules)
        if config is None:
            config = make_config(params["run"], params["config"])
        env = params["env"] if env is None else env
        like: Any
        if params["runner"] == "device":
            like = jax_environment(env, config.max_episode_steps)
        else:
            like = host_environment(env, None, config.max_episode_steps)
        try:
            agent = config.agent(like.specs)
            template = {"agent": initial_state(agent, jax.random.key(0))}
            checkpoints = Checkpointer(folder / run_folder.CHECKPOINTS)
            state, _ = checkpoints.restore(template, step=step)
            trained = TrainedAgent(agent, env, config, like, params["seed"], state["agent"])
            trained.checkpoint = checkpoints.path(checkpoints.steps()[-1] if step is None else step)
        finally:
            if hasattr(like, "close"):
                like.close()
        return trained

    @property
    def evaluation_seed(self) -> int:
        """The seed of the episodes of `evaluate`; episode i of n in parallel has this plus i."""
        return self.seed + EVALUATION_SEED

    def evaluate(self, num_episodes: int = 20) -> np.ndarray:
        """The undiscounted returns of the greedy policy, float64 `[num_episodes]`.

        The episodes have seeds of their own.
        """
        with closing(self.make_environment(min(10, num_episodes))) as env:
            return compute_returns(
                env,
                self.agent.policy,
                num_episodes,
                self.policy_params,
                seed=self.evaluation_seed,
            )

    def video(self, filename: str | Path, num_episodes: int = 1) -> Path:
        """Writes a video of the greedy policy; see `evaluation.create_policy_eval_video`."""
        with closing(self.make_environment(None)) as env:
            return create_policy_eval_video(
                env,
                self.agent.policy,
                filename,
                num_episodes,
                params=self.policy_params,
                seed=self.evaluation_seed,
            )

    def make_environment(self, num_envs: int | None = None, preprocess: bool = True) -> Environment:
        """Another host environment like the one that was trained in.

        Args:
          num_envs: Number of environments; None for an unbatched one.
          preprocess: Preprocess observations; without, it observes what `preprocessor` is given.
        """
        return host_environment(self.env, num_envs, self.config.max_episode_steps, preprocess)

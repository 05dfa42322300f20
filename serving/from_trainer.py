"""Serving what was trained: the service of a trained agent, and learning by its configuration."""

from collections.abc import Callable
from pathlib import Path

import jax

from ..agents.on_policy import OnPolicyAgent
from ..experiments.configs.off_policy import OffPolicyConfig
from ..experiments.configs.on_policy import OnPolicyConfig
from ..experiments.runners import make_replay
from ..experiments.trained.agent import TrainedAgent
from ..experiments.training.reports import warn_of_end
from ..experiments.training.trainer import Trainer
from .finite import all_finite
from .learner_thread import SAVE_SECONDS
from .learning import Learning, OnPolicyLearning, ReplayLearning
from .server import run_server
from .service import PolicyService


def serve(
    trained: TrainedAgent,
    learning: Learning | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    max_batch_size: int = 64,
    save: Callable[[], object] | None = None,
    save_seconds: float = SAVE_SECONDS,
    on_listening: Callable[[str], None] | None = None,
) -> None:
    """Serves a trained agent until SIGINT or SIGTERM.

    Args:
      trained: Trained agent, or a trainer.
      learning: Learning from the clients' episodes, of `make_learning`; None to serve without.
      host: Address to listen at; see `run_server`.
      port: Port; 0 for any free one.
      token: Token that clients send; see `run_server`.
      max_batch_size: Greatest number of requests in a batch, a power of two.
      save: Function that saves what was learned, such as `LearnedCheckpoints.save`; see
        `PolicyService`.
      save_seconds: Seconds after an update in which it is saved.
      on_listening: Function called with the server's address; see `run_server`.

    Raises:
      ValueError: if other machines could reach the server without a token, or it is empty.
      ImportError: if FastAPI or uvicorn is not installed.
      OSError: if the port is taken.
    """
    service = make_service(
        trained, learning, max_batch_size=max_batch_size, save=save, save_seconds=save_seconds
    )
    run_server(service, host=host, port=port, token=token, on_listening=on_listening)


def make_service(
    trained: TrainedAgent,
    learning: Learning | None = None,
    *,
    max_batch_size: int = 64,
    save: Callable[[], object] | None = None,
    save_seconds: float = SAVE_SECONDS,
) -> PolicyService:
    """Makes the service of a trained agent, with its preprocessor.

    Args:
      trained: Trained agent, or a trainer.
      learning: Learning from the clients' episodes, of `make_learning`; None to serve without.
      max_batch_size: Greatest number of requests in a batch, a power of two.
      save: Function that saves what was learned; see `PolicyService`.
      save_seconds: Seconds after an update in which it is saved.
    """
    return PolicyService(
        trained.agent,
        trained.train_state if learning is None else None,
        learning=learning,
        key=jax.random.key(trained.seed),
        max_batch_size=max_batch_size,
        preprocessor=trained.preprocessor,
        save=save,
        save_seconds=save_seconds,
    )


def make_learning(trainer: Trainer) -> Learning:
    """Makes the learning of a trainer's agent, with the numbers of its configuration.

    Args:
      trainer: Trainer that was restored, with its replay.

    Raises:
      TypeError: if the agent learns from neither replay nor its own recent rows.
    """
    config = trainer.config
    agent = trainer.agent
    if isinstance(config, OnPolicyConfig | OffPolicyConfig) and config.learns_until is not None:
        warn_of_end(config, trainer.num_steps + 1)
    if isinstance(agent, OnPolicyAgent) and isinstance(config, OnPolicyConfig):
        return OnPolicyLearning(
            agent,
            trainer.train_state,
            num_segments=config.num_envs,
            num_rows=config.num_rows,
            num_epochs=config.num_epochs,
            num_minibatches=config.num_minibatches,
            key=jax.random.key(trainer.seed),
        )
    if not isinstance(config, OffPolicyConfig):
        raise TypeError(
            f"{type(agent).__name__} does not learn from episodes of clients; serve it without "
            "--train"
        )
    buffer = trainer.runner.replay
    num_steps = 0 if buffer is None else min(trainer.num_steps, len(buffer))
    return ReplayLearning(
        agent,
        trainer.train_state,
        make_replay("host", config, agent, trainer.seed) if buffer is None else buffer,
        batch_size=config.batch_size,
        updates_per_step=config.updates_per_iteration / config.steps_per_iteration,
        warmup_steps=max(1, config.warmup_steps - num_steps),
        importance_exponent=config.importance_exponent,
        max_backlog=max(16, config.updates_per_iteration),
    )


class LearnedCheckpoints:
    """Saves what a service has learned, as checkpoints of a trainer.

    They are the trainer's own: `rollout`, `evaluate` and `train --resume` take them. Each takes the
    place of the one that this object saved before, when it is whole, so that those of the training
    stay.

    Args:
      trainer: Trainer whose agent is served.
      learning: Learning of the service; no update may run during `save`.
    """

    def __init__(self, trainer: Trainer, learning: Learning):
        self._trainer = trainer
        self._learning = learning
        self._saved_updates = 0
        self._newest: Path | None = None

    def save(self) -> Path | None:
        """Saves what was learned since the last call.

        Returns:
          The path of the newest checkpoint; None if nothing was learned yet.

        Raises:
          ValueError: if the parameters are not finite; nothing is saved.
          OSError: if the checkpoint could not be written; the earlier ones are whole.
        """
        trainer = self._trainer
        learned = self._learning.num_updates - self._saved_updates
        if not learned:
            return self._newest
        if not all_finite(self._learning.state.params):
            raise ValueError(
                "the learned parameters are not finite, and were not saved; the checkpoints before "
                "are whole"
            )
        assert trainer.checkpointer is not None  # the trainer was restored from one
        before = None if self._newest is None else trainer.training_iteration
        trainer.train_state = self._learning.state
        trainer.num_updates += learned
        trainer.training_iteration += 1
        trainer.checkpointer.keep += before is not None  # the last one here is to go instead
        try:
            self._newest = trainer.save()
        except BaseException:
            trainer.num_updates -= learned
            trainer.training_iteration -= 1
            raise
        finally:
            trainer.checkpointer.keep -= before is not None
        self._saved_updates += learned
        if before is not None:
            trainer.checkpointer.discard(before)
        return self._newest

"""What `jax-agents serve` and `rollout --address` do, from a trainer that was restored."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from ..agents.on_policy import OnPolicyAgent
from ..experiments.runners import make_replay
from ..experiments.trained.agent import TrainedAgent
from ..experiments.training.trainer import Trainer
from .learning import Learning, OnPolicyLearning, ReplayLearning
from .server import run_server
from .service import PolicyService


def serve(
    trainer: Trainer | TrainedAgent,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    train: bool = False,
    max_batch_size: int = 64,
    on_listening: Callable[[str], None] | None = None,
) -> Path | None:
    """Serves a trainer's agent until a signal comes; if it learns, saves a checkpoint then and
    returns its path.

    The checkpoint is one of the trainer's own: `rollout`, `evaluate` and `train --resume` take it.

    Args:
      trainer: The trained agent; with `train` a trainer that was restored, replay included.
      host, port, token, on_listening: see `run_server`.
      train: learn from the clients' episodes, with the numbers of the trainer's configuration.
      max_batch_size: a power of two.

    Raises:
      TypeError: the agent cannot learn from clients.
      ValueError, ImportError, OSError: as `run_server`.
    """
    service = make_service(trainer, train=train, max_batch_size=max_batch_size)
    run_server(service, host=host, port=port, token=token, on_listening=on_listening)
    learning = service.learning
    if learning is None or learning.num_updates == 0 or not isinstance(trainer, Trainer):
        return None
    trainer.train_state = service.state
    trainer.num_updates += learning.num_updates
    trainer.training_iteration += 1
    return trainer.save()


def make_service(
    trainer: Trainer | TrainedAgent, *, train: bool = False, max_batch_size: int = 64
) -> PolicyService:
    """The service of a trainer's agent, with the trainer's preprocessor; see `serve`."""
    learning = make_learning(trainer) if train and isinstance(trainer, Trainer) else None
    state = None if train else trainer.train_state
    options: dict[str, Any] = {
        "max_batch_size": max_batch_size,
        "preprocessor": trainer.preprocessor,
    }
    return PolicyService(
        trainer.agent, state, learning=learning, key=jax.random.key(trainer.seed), **options
    )


def make_learning(trainer: Trainer) -> Learning:
    """How a trainer's agent learns from clients: by its configuration, and with its replay.

    Raises:
      TypeError: it learns from neither replay nor its own recent rows.
    """
    config, agent, state = trainer.config, trainer.agent, trainer.train_state
    if isinstance(agent, OnPolicyAgent):
        return OnPolicyLearning(
            agent,
            state,
            num_segments=config.num_envs,
            num_rows=config.num_rows,
            num_epochs=config.num_epochs,
            num_minibatches=config.num_minibatches,
            key=jax.random.key(trainer.seed),
        )
    if not hasattr(config, "replay_capacity"):
        raise TypeError(
            f"{type(agent).__name__} does not learn from episodes of clients; serve it without "
            "--train"
        )
    buffer = trainer.runner.replay
    return ReplayLearning(
        agent,
        state,
        make_replay("host", config, agent, trainer.seed) if buffer is None else buffer,
        batch_size=config.batch_size,
        updates_per_step=config.updates_per_iteration / config.steps_per_iteration,
        warmup_steps=max(1, config.warmup_steps - (0 if buffer is None else len(buffer))),
        importance_exponent=config.importance_exponent,
        max_backlog=max(16, config.updates_per_iteration),
    )

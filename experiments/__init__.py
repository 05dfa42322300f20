"""Experiments: algorithms by name, the trainer, checkpoints and run folders; what the command line wires together."""

from .callbacks import Callback
from .checkpoints import Checkpointer, CheckpointError
from .diagnose import diagnose
from .dqn import DqnConfig, dqn_agent
from .presets import PRESETS, Preset, make_config
from .trainer import RESULT_KEYS, Trainer

__all__ = [
    "PRESETS",
    "RESULT_KEYS",
    "Callback",
    "CheckpointError",
    "Checkpointer",
    "DqnConfig",
    "Preset",
    "Trainer",
    "diagnose",
    "dqn_agent",
    "make_config",
]

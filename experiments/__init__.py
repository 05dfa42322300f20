"""Experiments: algorithms by name, the trainer, checkpoints and run folders; what the command line wires together."""

from ..learners.checkpoints import Checkpointer, CheckpointError
from . import introspection
from .analysis import Analysis, Trial
from .callbacks import Callback
from .configs import OffPolicyConfig, OnPolicyConfig
from .continuous import DdpgConfig, DiscreteSacConfig, SacConfig, Td3Config
from .demonstrations import load_rows, save_rows
from .diagnose import diagnose
from .evolution import EsConfig
from .offline import BcConfig
from .policy_gradient import A2cConfig, ImpalaConfig, PgConfig, PpoConfig
from .presets import PRESETS, Preset, make_config
from .pretty import pretty_print
from .reports import RESULT_KEYS
from .search_space import choice, grid_search, log_uniform, uniform
from .sweep import run_experiments, run_sweep
from .trainer import Trainer
from .tune import tune_experiment
from .value_based import C51Config, DqnConfig, QrDqnConfig, R2d2Config, dqn_agent
from .weights import WeightsError, export_weights, get_weights, import_weights, set_weights

__all__ = [
    "PRESETS",
    "RESULT_KEYS",
    "A2cConfig",
    "Analysis",
    "BcConfig",
    "C51Config",
    "Callback",
    "CheckpointError",
    "Checkpointer",
    "DdpgConfig",
    "DiscreteSacConfig",
    "DqnConfig",
    "EsConfig",
    "ImpalaConfig",
    "OffPolicyConfig",
    "OnPolicyConfig",
    "PgConfig",
    "PpoConfig",
    "Preset",
    "QrDqnConfig",
    "R2d2Config",
    "SacConfig",
    "Td3Config",
    "Trainer",
    "Trial",
    "WeightsError",
    "choice",
    "diagnose",
    "dqn_agent",
    "export_weights",
    "get_weights",
    "grid_search",
    "import_weights",
    "introspection",
    "load_rows",
    "log_uniform",
    "make_config",
    "pretty_print",
    "run_experiments",
    "run_sweep",
    "save_rows",
    "set_weights",
    "tune_experiment",
    "uniform",
]

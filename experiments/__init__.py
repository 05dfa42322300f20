"""Experiments: algorithms by name, the trainer, trained agents, checkpoints and sweeps."""

if "." not in __name__:
    raise ImportError(f"import jax_agents.{__name__} instead of {__name__}")

from ..learners.checkpoints import Checkpointer, CheckpointError
from ..learners.checks import NonFiniteError
from ..learners.diagnose import diagnose
from .configs.base import Config
from .configs.cloning import BcConfig
from .configs.continuous import DdpgConfig, DiscreteSacConfig, SacConfig, Td3Config
from .configs.evolution import EsConfig
from .configs.off_policy import OffPolicyConfig
from .configs.on_policy import OnPolicyConfig
from .configs.policy_gradient import A2cConfig, ImpalaConfig, PpoConfig, ReinforceConfig
from .configs.presets import PRESETS, Preset, make_config
from .configs.value_based import C51Config, DqnConfig, QrDqnConfig, R2d2Config
from .data.demonstrations import load_rows, save_rows
from .sweeps.analysis import Analysis, Trial
from .sweeps.search_space import choice, grid_search, log_uniform, uniform
from .sweeps.sweep import run_experiments, run_sweep
from .sweeps.tune import tune_experiment
from .trained import introspection
from .trained.agent import TrainedAgent
from .trained.weights import WeightsError, export_weights, get_weights, import_weights, set_weights
from .training.callbacks import Callback, Monitor
from .training.pretty import pretty_print
from .training.reports import RESULT_KEYS
from .training.trainer import Trainer

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
    "Config",
    "DdpgConfig",
    "DiscreteSacConfig",
    "DqnConfig",
    "EsConfig",
    "ImpalaConfig",
    "Monitor",
    "NonFiniteError",
    "OffPolicyConfig",
    "OnPolicyConfig",
    "PpoConfig",
    "Preset",
    "QrDqnConfig",
    "R2d2Config",
    "ReinforceConfig",
    "SacConfig",
    "Td3Config",
    "TrainedAgent",
    "Trainer",
    "Trial",
    "WeightsError",
    "choice",
    "diagnose",
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

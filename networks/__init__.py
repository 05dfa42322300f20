"""Networks by their roles: flax modules that take observations with any leading axes."""

if "." not in __name__:
    raise ImportError(f"import jax_agents.{__name__} instead of {__name__}")

from .actor import ActorNetwork
from .continuous import DeterministicActor, TanhNormalActor
from .critic import CriticNetwork, Ensemble
from .encoders import (
    MLP,
    ConvEncoder,
    DictEncoder,
    Flatten,
    OneHot,
    default_encoder,
    he_truncated_normal,
)
from .noisy import NoisyDense, apply_network
from .normalizer import (
    RunningStatistics,
    init_statistics,
    merge_statistics,
    normalize,
    update_statistics,
)
from .q_network import QNetwork
from .recurrent import GRU, LSTM, RecurrentActorValueNetwork, RecurrentQNetwork
from .resnet import ResNetEncoder
from .sequential import Sequential
from .summary import num_params, tabulate, tabulate_params
from .value import ActorValueNetwork, ValueNetwork

__all__ = [
    "GRU",
    "LSTM",
    "MLP",
    "ActorNetwork",
    "ActorValueNetwork",
    "ConvEncoder",
    "CriticNetwork",
    "DeterministicActor",
    "DictEncoder",
    "Ensemble",
    "Flatten",
    "NoisyDense",
    "OneHot",
    "QNetwork",
    "RecurrentActorValueNetwork",
    "RecurrentQNetwork",
    "ResNetEncoder",
    "RunningStatistics",
    "Sequential",
    "TanhNormalActor",
    "ValueNetwork",
    "apply_network",
    "default_encoder",
    "he_truncated_normal",
    "init_statistics",
    "merge_statistics",
    "normalize",
    "num_params",
    "tabulate",
    "tabulate_params",
    "update_statistics",
]

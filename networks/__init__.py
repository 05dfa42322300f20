"""Networks by role: flax modules that take observations with any leading axes."""

from .continuous import DeterministicActor, TanhNormalActor
from .critic import CriticNetwork, Ensemble
from .encoders import MLP, ConvEncoder, DictEncoder, Flatten, OneHot, default_encoder, he_truncated_normal
from .noisy import NoisyDense, apply_network
from .q_network import QNetwork
from .recurrent import GRU, LSTM, RecurrentQNetwork
from .sequential import Sequential
from .summary import num_params, tabulate, tabulate_params

__all__ = [
    "GRU",
    "LSTM",
    "MLP",
    "ConvEncoder",
    "CriticNetwork",
    "DeterministicActor",
    "DictEncoder",
    "Ensemble",
    "Flatten",
    "NoisyDense",
    "OneHot",
    "QNetwork",
    "RecurrentQNetwork",
    "Sequential",
    "TanhNormalActor",
    "apply_network",
    "default_encoder",
    "he_truncated_normal",
    "num_params",
    "tabulate",
    "tabulate_params",
]

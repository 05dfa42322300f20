"""Networks by role: flax modules that take observations with any leading axes."""

from .encoders import MLP, ConvEncoder, DictEncoder, Flatten, OneHot, default_encoder, he_truncated_normal
from .q_network import QNetwork
from .sequential import Sequential
from .summary import num_params, tabulate, tabulate_params

__all__ = [
    "MLP",
    "ConvEncoder",
    "DictEncoder",
    "Flatten",
    "OneHot",
    "QNetwork",
    "Sequential",
    "default_encoder",
    "he_truncated_normal",
    "num_params",
    "tabulate",
    "tabulate_params",
]

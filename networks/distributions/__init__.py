"""Distributions over actions: pytrees that are drawn from, compared and differentiated.

All have `sample`, `log_prob`, `entropy`, `mode` and `kl_divergence`.
They have any batch shape, and one key draws a whole batch. They may be returned from `jit`, mapped
by `vmap` and carried through `scan`, since fields that are not arrays are static.
"""

from .discrete import Categorical, MultiCategorical, epsilon_greedy
from .normal import Normal, TanhNormal
from .simple import Deterministic, Uniform

__all__ = [
    "Categorical",
    "Deterministic",
    "MultiCategorical",
    "Normal",
    "TanhNormal",
    "Uniform",
    "epsilon_greedy",
]

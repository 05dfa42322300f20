"""Distributions over actions: small pytrees with `sample`, `log_prob`, `entropy`, `mode` and
`kl_divergence`.

Batch shapes are any; one key draws a whole batch. All of them may be returned from `jit`, mapped by
`vmap` and carried through `scan`: what is not an array is a static field.
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

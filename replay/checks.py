"""Checks of arguments that all buffers and queues share."""

from typing import Any

import numpy as np

from ..envs.types import Array


def check_count(name: str, value: Any, hint: str = "") -> None:
    """Raises a ValueError that names the argument unless `value` is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {value!r}{hint}")


def check_timeout(timeout: float) -> None:
    """Raises a ValueError unless `timeout` is a positive number of seconds."""
    if not timeout > 0:
        raise ValueError(f"timeout must be a positive number of seconds, got {timeout!r}")


def check_sampling(
    sample_batch_size: int | None, num_steps: int | None, prefetch: int, sequence_length: int
) -> None:
    """Raises a ValueError for arguments of `as_dataset` that a buffer cannot serve.

    Args:
      sample_batch_size: Number of windows in a batch, or None.
      num_steps: Number of rows in a window as the caller asks for it, or None.
      prefetch: Number of batches to read ahead.
      sequence_length: Number of rows in the buffer's windows.
    """
    if num_steps is not None and num_steps != sequence_length:
        raise ValueError(
            f"num_steps={num_steps}, but this buffer was built with "
            f"sequence_length={sequence_length}, which fixes the length of its windows; leave "
            f"num_steps out, or build the buffer with sequence_length={num_steps}"
        )
    if sample_batch_size is not None and sample_batch_size < 1:
        raise ValueError(
            "sample_batch_size must be at least 1, or None for one unbatched item, got "
            f"{sample_batch_size}"
        )
    if prefetch < 0:
        raise ValueError(f"prefetch must be at least 0, got {prefetch}")


def check_priorities(
    keys: Array, priorities: Array, priority_exponent: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the keys `[n]` as uint64 and the priorities `[n]` as float64, on the host.

    Raises:
      ValueError: A priority is NaN, infinite or negative, the lengths differ, or the buffer is
        uniform.
      TypeError: The keys have passed through JAX, which cuts uint64 to 32 bits, so that they would
        match nothing.
    """
    if priority_exponent is None:
        raise ValueError(
            "this buffer samples uniformly; "
            "build it with priority_exponent=0.6, say, to set priorities"
        )
    keys = np.asarray(keys)
    priorities = np.asarray(priorities, np.float64)
    if keys.size and (keys.dtype.kind not in "ui" or keys.dtype.itemsize < 8):
        raise TypeError(
            f"keys must be the uint64 array info.key, got {keys.dtype}; "
            "keep it in NumPy: JAX cuts it to 32 bits"
        )
    if keys.shape != priorities.shape or keys.ndim > 1:
        raise ValueError(
            "expected one priority for each key, "
            f"got keys {keys.shape} and priorities {priorities.shape}"
        )
    bad = ~(np.isfinite(priorities) & (priorities >= 0))
    if bad.any():
        raise ValueError(
            "priorities must be finite and >= 0, got "
            f"{np.atleast_1d(priorities)[np.atleast_1d(bad)][:5].tolist()}"
        )
    return keys.reshape(-1).astype(np.uint64), priorities.reshape(-1)

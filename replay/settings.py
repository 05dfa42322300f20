"""The settings that all buffers on the host share, checked once."""

import dataclasses

import numpy as np

from .checks import check_count, check_timeout

_NO_LENGTH = (
    "; pass agent.train_sequence_length; where that is None, the agent is on-policy: use "
    "replay.HostQueue"
)


@dataclasses.dataclass(frozen=True)
class BufferSettings:
    """Size, windows and patience of a buffer.

    Args:
      capacity: Largest number of rows that are kept.
      sequence_length: Number of rows T in a window.
      stride: Number of rows between the beginnings of two windows.
      priority_exponent: Power of the priority to which an item's probability is proportional; None
        samples uniformly.
      min_size: Number of items that must be there before any can be sampled.
      timeout: Seconds after which a blocked call raises.

    Raises:
      ValueError: No buffer could serve a setting; the message names it.
    """

    capacity: int
    sequence_length: int
    stride: int
    priority_exponent: float | None
    min_size: int
    timeout: float

    def __post_init__(self) -> None:
        for name in ("capacity", "sequence_length", "stride", "min_size"):
            value = getattr(self, name)
            missing = name == "sequence_length" and value is None
            check_count(name, value, _NO_LENGTH if missing else "")
        if self.capacity < self.sequence_length:
            raise ValueError(
                f"capacity={self.capacity} rows cannot hold one window of "
                f"sequence_length={self.sequence_length} rows"
            )
        if self.min_size > self.capacity:
            raise ValueError(
                f"min_size={self.min_size} items can never be reached with "
                f"capacity={self.capacity} rows"
            )
        exponent = self.priority_exponent
        if exponent is not None and not 0.0 <= exponent < np.inf:
            raise ValueError(
                "priority_exponent must be None (uniform) or a finite number >= 0, got "
                f"{exponent!r}"
            )
        check_timeout(self.timeout)

"""The settings and the base class of the buffers on the host, which sample windows of their rows.

An item of a buffer is one window of consecutive rows, with its priority.
"""

import abc
import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from ..envs.types import Sample, Tree
from .checks import check_count, check_sampling, check_timeout
from .packing import RowLayout

_NO_LENGTH = (
    "; pass agent.train_sequence_length; "
    "where that is None, the agent is on-policy: use replay.HostQueue"
)


@dataclasses.dataclass(frozen=True)
class BufferSettings:
    """Size, windows and timeout of a buffer.

    Args:
      capacity: Largest number of rows that are kept.
      sequence_length: Number of rows T in a window.
      stride: Number of rows between the beginnings of two windows.
      priority_exponent: Exponent of the priorities: the probability of an item is proportional to
        priority ** exponent. None samples uniformly.
      min_size: Number of items that must be there before any can be sampled.
      timeout: Seconds after which a blocked call raises.

    Raises:
      ValueError: if no buffer could serve a setting; the message names it.
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
        if self.min_size > self.max_items:
            raise ValueError(
                f"min_size={self.min_size} items can never be reached: "
                f"capacity={self.capacity} rows hold {self.max_items}"
            )
        exponent = self.priority_exponent
        if exponent is not None and not 0.0 <= exponent < np.inf:
            raise ValueError(
                "priority_exponent must be None (uniform) or a finite number >= 0, "
                f"got {exponent!r}"
            )
        check_timeout(self.timeout)

    @property
    def max_items(self) -> int:
        """The greatest number of items: the windows of `capacity` rows that are one stream."""
        return 1 + (self.capacity - self.sequence_length) // self.stride


class WindowBuffer(abc.ABC):
    """The base of buffers on the host: settings as attributes, and the arguments of `as_dataset`.

    Args:
      spec: Specs of one row, `agent.collect_data_spec`.
      settings: Checked settings of the buffer.

    Attributes:
      generation: Number that `clear` and `load` change, so that readers forget what they have read
        ahead.
      others_write: True if the rows are on a server, which others may be filling.
    """

    others_write = False

    def __init__(self, spec: Tree, settings: BufferSettings):
        self.layout = RowLayout(spec)
        self.capacity = int(settings.capacity)
        self.sequence_length = int(settings.sequence_length)
        self.stride = int(settings.stride)
        self.priority_exponent = settings.priority_exponent
        self.min_size = int(settings.min_size)
        self.timeout = float(settings.timeout)
        self.generation = 0

    def as_dataset(
        self,
        sample_batch_size: int | None = None,
        num_steps: int | None = None,
        *,
        prefetch: int = 2,
        device: Any = None,
    ) -> Iterator[Sample]:
        """Returns an endless iterator of samples `[B, T, ...]`, drawn with replacement.

        `next` raises a TimeoutError after `timeout` seconds with too little to sample, and may be
        called again; it raises StopIteration once the buffer is closed.

        On a CPU, batches are NumPy arrays, which a jitted function takes as fast as any. On an
        accelerator, or where `device` is given, each `next` begins the copy of a batch that is due
        `prefetch` calls later, so that the copy is over by then. `sample.info` stays in NumPy on
        the host.

        Args:
          sample_batch_size: Number of windows B in a batch; None gives unbatched windows
            `[T, ...]`.
          num_steps: The buffer's `sequence_length`, or None; TF-Agents' argument.
          prefetch: Number of batches that are read ahead; 0 gives the freshest data. `HostReplay`
            draws inside `next` and reads ahead only for a device; for `ReverbReplay` it is the
            number of groups of batches, of up to 16 each, that wait in memory.
          device: Device or sharding that experience is put on; None is the first accelerator, if
            there is one.

        Raises:
          ValueError: if the buffer cannot serve an argument.
        """
        check_sampling(sample_batch_size, num_steps, prefetch, self.sequence_length)
        if device is None and jax.default_backend() != "cpu":
            device = jax.local_devices()[0]
        return self._dataset(sample_batch_size, prefetch, device)

    @abc.abstractmethod
    def _dataset(self, batch_size: int | None, prefetch: int, device: Any) -> Iterator[Sample]:
        """Returns the iterator for checked arguments; None leaves batches in NumPy."""

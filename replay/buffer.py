"""The base of the buffers on the host that cut windows out of their rows themselves."""

import abc
from collections.abc import Iterator
from typing import Any

import jax

from ..envs.types import Sample, Tree
from .checks import check_sampling
from .packing import RowLayout
from .settings import BufferSettings


class WindowBuffer(abc.ABC):
    """Settings of a buffer as attributes, and the arguments of `as_dataset`.

    Args:
      spec: Specs of one row, `agent.collect_data_spec`.
      settings: Checked settings of the buffer.
    """

    def __init__(self, spec: Tree, settings: BufferSettings):
        self.layout = RowLayout(spec)
        self.capacity = int(settings.capacity)
        self.sequence_length = int(settings.sequence_length)
        self.stride = int(settings.stride)
        self.priority_exponent = settings.priority_exponent
        self.min_size = int(settings.min_size)
        self.timeout = float(settings.timeout)

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

        On a CPU, batches are NumPy arrays: a jitted function takes them three times faster than
        after `device_put`. On an accelerator, or where `device` is given, each `next` begins the
        copy of a batch that is due `prefetch` calls later, so that the copy is over by then. `info`
        stays in NumPy on the host.

        Args:
          sample_batch_size: Number of windows B in a batch; None gives unbatched windows
            `[T, ...]`.
          num_steps: None, or the buffer's `sequence_length`.
          prefetch: Number of batches that are read ahead; 0 gives the freshest data. `HostReplay`
            draws inside `next` and reads ahead only for a device; `ReverbReplay` counts hand-overs
            of up to 16 batches each.
          device: Device or sharding that experience is put on; None is the first accelerator, if
            there is one.

        Raises:
          ValueError: The buffer cannot serve an argument.
        """
        check_sampling(sample_batch_size, num_steps, prefetch, self.sequence_length)
        if device is None and jax.default_backend() != "cpu":
            device = jax.local_devices()[0]
        return self._dataset(sample_batch_size, prefetch, device)

    @abc.abstractmethod
    def _dataset(self, batch_size: int | None, prefetch: int, device: Any) -> Iterator[Sample]:
        """Returns the iterator for checked arguments; None leaves batches in NumPy."""

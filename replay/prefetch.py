"""Copies of samples to a device that run ahead of their use."""

from collections import deque
from collections.abc import Callable
from typing import Any

import jax

from ..envs.types import Sample


class DeviceCopies:
    """Samples on their way to a device.

    Args:
      device: Device or sharding that experience is put on; None leaves samples as they are drawn.
      depth: Number of samples whose copies run while an earlier one is used.
    """

    def __init__(self, device: Any, depth: int):
        self._device = device
        self._depth = depth
        self._ready: deque[Sample] = deque()

    def next(self, draw: Callable[[], Sample]) -> Sample:
        """Returns the next sample, after drawing as many as must be on their way behind it."""
        if self._device is None:
            return draw()
        while len(self._ready) <= self._depth:
            experience, info = draw()
            self._ready.append(Sample(jax.device_put(experience, self._device), info))
        return self._ready.popleft()

    def clear(self) -> None:
        """Drops the samples that are on their way."""
        self._ready.clear()

"""The reading side of `RemoteReplay`: items of all its servers, put together to batches."""

import time
import weakref
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from ...envs.types import Sample, SampleInfo
from ..prefetch import DeviceCopies
from ..tables.reader import TableReader
from ..tables.replay import TableReplay
from .connection import Connection
from .sampler import Sampler
from .samples import Item, stack

_INFO_DTYPES = SampleInfo(np.uint64, np.float64, np.int64, np.float64, np.int32)
SIZES_SECONDS = 1.0  # the age at which the servers' sizes, by which draws are shared out, are old


class RemoteDataset(TableReader):
    """The iterator that `RemoteReplay.as_dataset` returns; threads may share it.

    Args:
      replay: Buffer that is read.
      connections: Connections to the servers of the buffer.
      batch_size: Number of windows in a batch; None gives unbatched windows.
      prefetch: Number of batches that are read ahead.
      device: Device or sharding that experience is put on; None leaves it in NumPy.
    """

    def __init__(
        self,
        replay: TableReplay,
        connections: Sequence[Connection],
        batch_size: int | None,
        prefetch: int,
        device: Any,
    ):
        ahead = prefetch if batch_size else 0
        super().__init__(replay, batch_size, DeviceCopies(device, ahead))
        self._connections = connections
        self._batch_rows = batch_size or 1
        self._ahead = -(-ahead * self._batch_rows // len(connections))  # items of each server
        self._samplers: list[Sampler] = []
        # Of the items of each server: the sum of priority^alpha over their number.
        self._weight = np.ones(len(connections))
        self._sizes = np.zeros(0)
        self._sizes_at = 0.0
        self._rng = np.random.default_rng()

    def release(self, timeout: float = -1) -> None:
        """Lets go of the servers at once, which ends a `next` that waits."""
        samplers = self._samplers
        self._samplers = []
        _close(samplers)

    def _forget(self) -> None:
        self.release()
        self._copies.clear()

    def _draw(self) -> Sample:
        deadline = time.monotonic() + self._replay.timeout
        samplers = self._samplers or self._open(deadline)
        counts = self._counts()
        items: list[Item] = []
        for sampler, count in zip(samplers, counts.tolist(), strict=True):
            left = max(0.0, deadline - time.monotonic())
            try:
                items += sampler.take(count, ahead=self._ahead, timeout=left) if count else []
            except TimeoutError as error:
                raise self._replay.timeout_error("sampling") from error
        sample = self._sample(items)
        if len(samplers) > 1:
            sample = sample._replace(info=self._of_all(sample.info, counts))
        return jax.tree.map(lambda x: x[0], sample) if self._batch_size is None else sample

    def _open(self, deadline: float) -> list[Sampler]:
        self._replay.wait_for_items(deadline)
        samplers = [Sampler(connection, self._replay.table) for connection in self._connections]
        self._samplers = samplers
        weakref.finalize(self, _close, samplers)
        self._replay.check_reader()  # a `close` that came meanwhile has not seen them
        self._weight = np.ones(len(samplers))
        self._sizes_at = 0.0
        return samplers

    def _sample(self, items: list[Item]) -> Sample:
        columns = dict(zip(self._replay.columns, stack(items), strict=True))
        infos = zip(*(item.info for item in items), strict=True)
        info = (np.array(x, dtype) for x, dtype in zip(infos, _INFO_DTYPES, strict=True))
        return Sample(self._replay.layout.unpack(columns), SampleInfo(*info))

    def _counts(self) -> np.ndarray:
        """Draws the number of items that each server gives to the next batch, by what it holds."""
        if len(self._connections) == 1:
            return np.array([self._batch_rows])
        if time.monotonic() - self._sizes_at > SIZES_SECONDS:
            self._sizes = self._replay.sizes()
            self._sizes_at = time.monotonic()
        return self._rng.multinomial(self._batch_rows, self._shares())

    def _shares(self) -> np.ndarray:
        """Returns the part of the whole that each server holds."""
        held = self._sizes * self._weight
        return held / held.sum()

    def _of_all(self, info: SampleInfo, counts: np.ndarray) -> SampleInfo:
        """Returns the info as if there were one table: its probabilities and its size."""
        server = np.repeat(np.arange(len(counts)), counts)
        if self._replay.priority_exponent is not None:
            mass = info.priority**self._replay.priority_exponent
            with np.errstate(divide="ignore", invalid="ignore"):
                weight = mass / (info.probability * info.table_size)
            known = np.isfinite(weight) & (weight > 0)
            self._weight[server] = np.where(known, weight, self._weight[server])
        return info._replace(
            probability=info.probability * self._shares()[server],
            table_size=np.full_like(info.table_size, self._sizes.sum()),
        )


def _close(samplers: list[Sampler]) -> None:
    for sampler in samplers:
        sampler.close()

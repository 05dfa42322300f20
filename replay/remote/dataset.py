"""The reading side of `RemoteReplay`: items of all its servers, put together to batches."""

import collections
import threading
import time
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ...envs.types import Sample, SampleInfo
from .sampler import Sampler
from .samples import Item, stack

if TYPE_CHECKING:
    from .replay import RemoteReplay

_INFO_DTYPES = SampleInfo(np.uint64, np.float64, np.int64, np.float64, np.int32)
SIZES_SECONDS = 1.0  # how old the servers' sizes may be by which draws are shared out


class RemoteDataset(Iterator[Sample]):
    """An endless iterator of samples; see `RemoteReplay.as_dataset`. Safe to share between
    threads.
    """

    def __init__(self, replay: "RemoteReplay", batch_size: int | None, prefetch: int, device: Any):
        self._replay, self._batch_size, self._device = replay, batch_size, device
        self._prefetch = prefetch if batch_size else 0
        self._lock = threading.Lock()
        self._samplers: list[Sampler] = []
        self._weight = np.ones(
            0
        )  # of the items of each server: the sum of priority^alpha over their number
        self._sizes, self._sizes_at = np.zeros(0), 0.0
        self._generation = -1
        self._rng = np.random.default_rng()
        self._ready: collections.deque[Sample] = collections.deque()

    def __next__(self) -> Sample:
        """The next batch.

        Raises:
          TimeoutError: nothing could be sampled for the buffer's `timeout` seconds; the message has
            the table's state.
          ConnectionError: a server was not there for so long.
          StopIteration: the buffer was closed.
        """
        with self._lock:
            while True:
                if self._generation != self._replay.generation:
                    self.release()
                    self._generation = self._replay.generation
                try:
                    if self._device is None:
                        return self._draw()
                    while (
                        len(self._ready) <= self._prefetch
                    ):  # copies to the device run ahead of their use
                        experience, info = self._draw()
                        self._ready.append(Sample(jax.device_put(experience, self._device), info))
                    return self._ready.popleft()
                except (
                    StopIteration
                ):  # the samplers were closed: at the end, or to forget what they have read ahead
                    self._replay.check_reader()
                except Exception:
                    self._replay.check_reader()  # closed meanwhile: that is the end, whatever broke
                    raise

    def release(self) -> None:
        """Lets go of the servers; from any thread."""
        samplers, self._samplers = self._samplers, []
        for sampler in samplers:
            sampler.close()
        self._ready.clear()

    def _draw(self) -> Sample:
        replay, batch = self._replay, self._batch_size or 1
        deadline = time.monotonic() + replay.timeout
        samplers = self._samplers
        if not samplers:
            replay.wait_for_items(deadline)
            samplers = self._samplers = [Sampler(client, replay.table) for client in replay.clients]
            weakref.finalize(self, _close, samplers)
            replay.check_reader()  # a `close` that came meanwhile has not seen them
            self._weight, self._sizes_at = np.ones(len(samplers)), 0.0
        counts, items = self._counts(batch), []
        for sampler, count in zip(samplers, counts, strict=True):
            if count:
                ahead = -(-self._prefetch * batch // len(samplers))
                try:
                    items.append(
                        sampler.take(
                            int(count), ahead=ahead, timeout=max(0.0, deadline - time.monotonic())
                        )
                    )
                except TimeoutError as error:
                    raise replay.timeout_error("sampling") from error
            else:
                items.append([])
        sample = self._sample([item for part in items for item in part])
        if len(samplers) > 1:
            sample = sample._replace(info=self._of_all(sample.info, counts))
        return jax.tree.map(lambda x: x[0], sample) if self._batch_size is None else sample

    def _sample(self, items: list[Item]) -> Sample:
        columns = dict(zip(self._replay.columns, stack(items), strict=True))
        info = (
            np.array(x, dtype)
            for x, dtype in zip(
                zip(*(i.info for i in items), strict=True), _INFO_DTYPES, strict=True
            )
        )
        return Sample(self._replay.layout.unpack(columns), SampleInfo(*info))

    def _counts(self, batch: int) -> np.ndarray:
        """How many items of the next batch each server gives: drawn, each server as likely as all
        that it holds.
        """
        if len(self._weight) == 1:
            return np.array([batch])
        if time.monotonic() - self._sizes_at > SIZES_SECONDS:
            self._sizes, self._sizes_at = self._replay.sizes(), time.monotonic()
        shares = self._sizes * self._weight
        return self._rng.multinomial(batch, shares / shares.sum())

    def _of_all(self, info: SampleInfo, counts: np.ndarray) -> SampleInfo:
        """The info as if there were one table: probabilities among all items, and their number."""
        server = np.repeat(np.arange(len(counts)), counts)
        if self._replay.priority_exponent is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                weight = info.priority**self._replay.priority_exponent / (
                    info.probability * info.table_size
                )
            self._weight[server] = np.where(
                np.isfinite(weight) & (weight > 0), weight, self._weight[server]
            )
        shares = self._sizes * self._weight
        probability = info.probability * (shares / shares.sum())[server]
        return info._replace(
            probability=probability, table_size=np.full_like(info.table_size, self._sizes.sum())
        )


def _close(samplers: list[Sampler]) -> None:
    for sampler in samplers:
        sampler.close()

"""The reading side of `ReverbReplay`: hand-overs of many items from tf.data, cut into batches."""

import collections
import queue
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jax

from ...envs.types import Sample, SampleInfo
from .runtime import import_reverb, quiet

if TYPE_CHECKING:
    from .replay import ReverbReplay

# How long a reader may wait inside Reverb before it looks around. Shutdown waits for it, so it
# bounds `close()` too.
LIMITER_TIMEOUT_MS = 200
# Taking a hand-over from tf.data costs about 280 us whatever its size, so that many items are taken
# at once and cut ...
HANDOVER_ITEMS, HANDOVER_BYTES, MAX_BATCHES, MAX_PRIORITISED_BATCHES = 512, 4 << 20, 16, 4
# ... but what is read ahead is as old as the table was then: the look-ahead grows with the table, a
# batch for each of
ROWS_PER_BATCH_AHEAD = 256
MANY_ROWS = 1024
PROBATION = 256  # batches after which a reader that may not yet read far ahead looks at the table's size again


class ReverbDataset(Iterator[Sample]):
    """An endless iterator of samples; see `ReverbReplay.as_dataset`. Safe to share between
    threads.
    """

    def __init__(self, replay: "ReverbReplay", batch_size: int | None, prefetch: int, device: Any):
        self._replay, self._batch_size, self._prefetch, self._device = (
            replay,
            batch_size,
            prefetch,
            device,
        )
        self._lock = threading.Lock()
        self._source: Any = None
        self._generation = -1
        self._batches_per_handover = 1
        self._cut: collections.deque[Sample] = collections.deque()
        self._ready: collections.deque[Sample] = collections.deque()

    def __next__(self) -> Sample:
        """The next batch.

        Raises:
          TimeoutError: nothing could be sampled for the buffer's `timeout` seconds; the message has
            the table's state.
          StopIteration: the buffer was closed.
        """
        with self._lock:
            if self._generation != self._replay.generation:
                self._drop()
                self._generation = self._replay.generation
            if not self._ready and not self._cut:
                try:
                    self._cut.extend(self._handover())
                except Exception:
                    self._replay.check_reader()  # closed meanwhile: that is the end, whatever broke
                    raise
            if self._device is None:
                return self._cut.popleft()
            while (
                self._cut and len(self._ready) <= self._prefetch
            ):  # copies to the device run ahead of their use
                sample = self._cut.popleft()
                self._ready.append(
                    sample._replace(experience=jax.device_put(sample.experience, self._device))
                )
            return self._ready.popleft()

    def release(self, timeout: float = -1) -> bool:
        """Lets go of the server; False if a thread is still inside `next()` after `timeout`
        seconds.
        """
        if not self._lock.acquire(timeout=timeout):
            return False
        try:
            self._drop()
            return True
        finally:
            self._lock.release()

    def _drop(self) -> None:
        self._source = None
        self._cut.clear()
        self._ready.clear()

    def _handover(self) -> list[Sample]:
        deadline = time.monotonic() + self._replay.timeout
        while True:
            if self._source is None:
                self._open(self._replay.wait_for_items(deadline))
            raw = self._pull(deadline)
            if raw is not None:
                return self._cut_up(raw)
            self._source = (
                None  # it waited for LIMITER_TIMEOUT_MS in vain, or its time on probation is over
            )
            if time.monotonic() > deadline:
                raise self._replay.timeout_error("sampling")

    def _open(self, rows: int) -> None:
        reverb, tf = import_reverb()
        replay, batch = self._replay, self._batch_size or 1
        look_ahead = self._batch_size is not None and self._prefetch > 0
        most = MAX_BATCHES if replay.priority_exponent is None else MAX_PRIORITISED_BATCHES
        most = (
            max(
                1, min(most, HANDOVER_ITEMS // batch, HANDOVER_BYTES // (batch * replay.item_bytes))
            )
            if look_ahead
            else 1
        )
        count = min(most, max(1, rows // ROWS_PER_BATCH_AHEAD))
        settled = not look_ahead or (count == most and rows >= MANY_ROWS)
        fast = look_ahead and rows >= MANY_ROWS
        columns = replay.columns
        with quiet():
            dataset = reverb.TrajectoryDataset(
                server_address=replay.address,
                table=replay.table,
                dtypes={name: tf.as_dtype(dtype) for name, (_, dtype) in columns.items()},
                shapes={
                    name: tf.TensorShape((replay.sequence_length, *shape))
                    for name, (shape, _) in columns.items()
                },
                max_in_flight_samples_per_worker=batch * (4 if fast else 1),
                num_workers_per_iterator=2 if fast else 1,
                rate_limiter_timeout_ms=LIMITER_TIMEOUT_MS,
                max_samples=-1 if settled else max(1, PROBATION // count) * count * batch,
            )
            dataset = dataset.batch(batch * count, drop_remainder=True)
            if look_ahead:
                dataset = dataset.prefetch(self._prefetch if fast else 1)
            options = tf.data.Options()
            options.autotune.enabled = False
            options.experimental_optimization.apply_default_optimizations = False
            options.threading.private_threadpool_size = 1
            self._source = iter(dataset.with_options(options))
        self._batches_per_handover = count

    def _pull(self, deadline: float) -> Any:
        """The next hand-over, or None when the source has ended."""
        if self._replay.owns_server:
            return next(self._source, None)
        # A server elsewhere may die, and Reverb then retries for ever, deaf to timeouts and to
        # Ctrl-C; hence a thread.
        source = self._source
        box: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=lambda: box.put(_next_or_error(source)), daemon=True).start()
        while True:
            try:
                result = box.get(timeout=0.1)
            except queue.Empty:
                self._replay.check_reader()
                if time.monotonic() > deadline:
                    self._source = None
                    raise self._replay.timeout_error("sampling") from None
                continue
            if isinstance(result, Exception):
                raise result
            return result

    def _cut_up(self, raw: Any) -> list[Sample]:
        # `.numpy()` copies: JAX may alias what it is given, and no batch may be memory that
        # TensorFlow still owns.
        info = SampleInfo(*(getattr(raw.info, name).numpy() for name in SampleInfo._fields))
        whole = Sample(
            self._replay.layout.unpack(
                {name: raw.data[name].numpy() for name in self._replay.layout.columns}
            ),
            info,
        )
        if self._batch_size is None:
            return [jax.tree.map(lambda x: x[0], whole)]
        leaves, treedef = jax.tree.flatten(whole)
        size, count = self._batch_size, self._batches_per_handover
        return [
            jax.tree.unflatten(treedef, [x[i * size : (i + 1) * size] for x in leaves])
            for i in range(count)
        ]


def _next_or_error(source: Any) -> Any:
    try:
        return next(source, None)
    except Exception as error:
        return error

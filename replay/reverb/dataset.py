"""The reading side of `ReverbReplay`: hand-overs of many items from tf.data, cut into batches."""

import collections
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import jax

from ...envs.types import Sample, SampleInfo
from ..prefetch import DeviceCopies
from ..tables.reader import TableReader
from ..tables.replay import TableReplay
from .connection import Connection, make_signature, read_table
from .runtime import import_reverb, quiet

# The time a reader may wait inside Reverb before it looks around. Shutdown waits for it, so it
# bounds `close()` too.
LIMITER_TIMEOUT_MS = 200
# Taking a hand-over from tf.data costs about 280 us whatever its size, so that many items are taken
# at once and cut ...
HANDOVER_ITEMS = 512
HANDOVER_BYTES = 4 << 20
MAX_BATCHES = 16
MAX_PRIORITISED_BATCHES = 4
# ... but what is read ahead is as old as the table was then: the look-ahead grows with the table,
# by a batch for this number of rows.
ROWS_PER_BATCH_AHEAD = 256
MANY_ROWS = 1024
# The number of batches after which a reader that may not yet read far ahead looks at the table's
# size again.
PROBATION = 256


class ReverbDataset(TableReader):
    """The iterator that `ReverbReplay.as_dataset` returns; threads may share it.

    Args:
      replay: Buffer that is read.
      connection: Function that returns the connection to the buffer's server, which may change.
      batch_size: Number of windows in a batch; None gives unbatched windows.
      prefetch: Number of hand-overs that are read ahead.
      device: Device or sharding that experience is put on; None leaves it in NumPy.
    """

    def __init__(
        self,
        replay: TableReplay,
        connection: Callable[[], Connection],
        batch_size: int | None,
        prefetch: int,
        device: Any,
    ):
        super().__init__(replay, batch_size, DeviceCopies(device, prefetch))
        self._connection = connection
        self._prefetch = prefetch
        self._source: Any = None
        self._batches_per_handover = 1
        self._cut: collections.deque[Sample] = collections.deque()

    def release(self, timeout: float = -1) -> None:
        """Lets go of the server, unless `next` is still at work after `timeout` seconds."""
        if self._lock.acquire(timeout=timeout):
            try:
                self._forget()
            finally:
                self._lock.release()

    def _forget(self) -> None:
        self._source = None
        self._cut.clear()
        self._copies.clear()

    def _draw(self) -> Sample:
        if not self._cut:
            self._cut.extend(self._handover())
        return self._cut.popleft()

    def _handover(self) -> list[Sample]:
        deadline = time.monotonic() + self._replay.timeout
        while True:
            if self._source is None:
                self._open(self._replay.wait_for_items(deadline) * self._replay.stride)
            raw = self._pull(deadline)
            if raw is not None:
                return self._cut_up(raw)
            # It waited for LIMITER_TIMEOUT_MS in vain, or its time on probation is over.
            self._source = None
            if time.monotonic() > deadline:
                raise self._replay.timeout_error("sampling")

    def _open(self, rows: int) -> None:
        """Opens a source of hand-overs for a table of about this many rows."""
        _, tf = import_reverb()
        replay = self._replay
        batch = self._batch_size or 1
        look_ahead = self._batch_size is not None and self._prefetch > 0
        most = 1
        if look_ahead:
            most = MAX_BATCHES if replay.priority_exponent is None else MAX_PRIORITISED_BATCHES
            batch_bytes = batch * replay.sequence_length * replay.layout.row_bytes
            most = max(1, min(most, HANDOVER_ITEMS // batch, HANDOVER_BYTES // batch_bytes))
        count = min(most, max(1, rows // ROWS_PER_BATCH_AHEAD))
        settled = not look_ahead or (count == most and rows >= MANY_ROWS)
        fast = look_ahead and rows >= MANY_ROWS
        with quiet():
            dataset = read_table(
                self._connection().address,
                replay.table,
                make_signature(replay.columns, replay.sequence_length),
                in_flight=batch * (4 if fast else 1),
                workers=2 if fast else 1,
                timeout_ms=LIMITER_TIMEOUT_MS,
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
        """Returns the next hand-over, or None when the source has ended."""
        if self._connection().owns_server:
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
        layout = self._replay.layout
        columns = {name: raw.data[name].numpy() for name in layout.columns}
        info = SampleInfo(*(getattr(raw.info, name).numpy() for name in SampleInfo._fields))
        whole = Sample(layout.unpack(columns), info)
        if self._batch_size is None:
            return [jax.tree.map(lambda x: x[0], whole)]
        leaves, treedef = jax.tree.flatten(whole)
        size = self._batch_size
        return [
            jax.tree.unflatten(treedef, [x[i * size : (i + 1) * size] for x in leaves])
            for i in range(self._batches_per_handover)
        ]


def _next_or_error(source: Any) -> Any:
    try:
        return next(source, None)
    except Exception as error:
        return error

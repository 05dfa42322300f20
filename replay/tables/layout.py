"""What the rows of a table are: a small table beside it says so to every client.

Reverb's own signature belongs to the program that starts a server, and a server that is started
alone knows no spec. It would not tell much, either: packed rows of different specs are the same
bytes. So the first client writes what its rows are into the small table, and each client, the
first too, compares its own with the oldest entry. Two that are first at a time agree as well.
"""

import json
from collections.abc import Iterable
from itertools import zip_longest

import numpy as np

from ..packing import RowLayout

SUFFIX = ".layout"
MAX_ENTRIES = 64


def layout_table(table: str) -> str:
    """Returns the name of the small table beside a table."""
    return f"{table}{SUFFIX}"


def is_layout_table(table: str) -> bool:
    """Returns True for the name of such a small table."""
    return table.endswith(SUFFIX)


def known_tables(names: Iterable[str]) -> list[str]:
    """Returns the names of a server's tables, sorted, without those of the small ones."""
    return sorted(name for name in names if not is_layout_table(name))


def encode_layout(layout: RowLayout, rows: int) -> np.ndarray:
    """Returns the entry of a client, uint8 `[n]`: JSON.

    Args:
      layout: Layout of its rows.
      rows: Number of rows in an item.
    """
    text = json.dumps({"rows": rows, "leaves": layout.describe()})
    return np.frombuffer(text.encode(), np.uint8)


def check_layout(table: str, address: str, entry: np.ndarray, layout: RowLayout, rows: int) -> None:
    """Compares the entry of the table's first client with this client's rows.

    Args:
      table: Name of the table.
      address: Address of its server.
      entry: Entry of the first client, of any shape.
      layout: Layout of this client's rows.
      rows: Number of rows in this client's items.

    Raises:
      ValueError: They differ; the message names each leaf.
    """
    saved = json.loads(np.asarray(entry, np.uint8).tobytes())
    pairs = zip_longest(saved["leaves"], layout.describe(), fillvalue="no such leaf")
    problems = [f"the table has {have}, got {own}" for have, own in pairs if have != own]
    if saved["rows"] != rows:
        problems.append(f"sequence_length: the table has {saved['rows']}, got {rows}")
    if problems:
        raise ValueError(
            f"table {table!r} at {address} holds other rows than those described here: "
            f"{'; '.join(problems)}. Pass the spec of the client that came first, or use another "
            "table"
        )

"""Agreeing with a table's other clients on what its rows are; see `tables.layout`."""

from ..packing import RowLayout
from ..tables.layout import check_layout, encode_layout, layout_table
from .client import ReverbClient


def agree_on_rows(client: ReverbClient, table: str, layout: RowLayout, rows: int) -> None:
    """Compares the rows of this client with those of a table; the first client defines them.

    A server of another program, which has no table for it, is left alone.

    Args:
      client: Client of the table's server.
      table: Name of the table.
      layout: Layout of this client's rows.
      rows: Number of rows in an item.

    Raises:
      ValueError: The rows differ; the message names each leaf.
    """
    name = layout_table(table)
    info = client.server_info().get(name)
    if info is None:
        return
    if not info.current_size:
        writer = client.writer(max_rows=1, chunk_length=1)
        try:
            writer.append([encode_layout(layout, rows)])
            writer.create_item(name, 1.0, 1)
            writer.flush()
        finally:
            writer.close()
            writer.stream.close()
    sampler = client.sampler(name)
    try:
        (item,) = sampler.take(1)
    finally:
        sampler.close()
    (entry,) = item.arrays()
    check_layout(table, client.address, entry, layout, rows)

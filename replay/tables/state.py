"""The state of a table, as its server reports it."""

from collections.abc import Sequence
from typing import NamedTuple


class TableState(NamedTuple):
    """The state of one server's table.

    Args:
      address: Address of the server.
      items: Number of items in the table.
      max_items: Largest number of items that it holds.
      min_size: Number of items that it needs before any can be sampled.
      inserts: Number of items that were ever inserted.
      samples: Number of items that were ever sampled.
    """

    address: str
    items: int
    max_items: int
    min_size: int
    inserts: int
    samples: int

    @property
    def ready(self) -> int:
        """The number of items that can be sampled: none where there are fewer than `min_size`."""
        return self.items if self.items >= max(1, self.min_size) else 0


def describe_states(states: Sequence[TableState], min_size: int) -> str:
    """Returns, for a message, the servers that hold a table together, and the items in it.

    Args:
      states: State of the table at each server.
      min_size: Number of items that a buffer waits for.
    """
    needed = max(min_size, *(state.min_size for state in states))
    return (
        f"{', '.join(state.address for state in states)} has "
        f"{sum(state.items for state in states)} items of the {needed} needed, at most "
        f"{sum(state.max_items for state in states)}; inserts: "
        f"{sum(state.inserts for state in states)}, samples: "
        f"{sum(state.samples for state in states)}"
    )

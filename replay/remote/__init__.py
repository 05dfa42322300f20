"""A Reverb client that needs no TensorFlow, and a replay buffer on the servers that it reaches."""

from .client import ReverbClient
from .inserts import InsertStream
from .replay import RemoteReplay
from .writer import Writer

__all__ = ["InsertStream", "RemoteReplay", "ReverbClient", "Writer"]

"""Replay buffers in the memory of this process."""

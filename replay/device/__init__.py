"""Replay buffers on device: pure functions of a state."""

"""Replay buffers on a Reverb server in this process."""

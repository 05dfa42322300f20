"""Queues of segments and episodes, each of which is learned from once."""

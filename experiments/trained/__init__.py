"""Trained agents, their run folders, environments and weights."""

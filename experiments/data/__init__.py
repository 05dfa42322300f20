"""Rows to learn from without acting."""

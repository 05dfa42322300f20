"""Tuned examples, as YAML files, and their reader."""

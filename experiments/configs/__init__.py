"""Configurations of the algorithms, by name and by class."""

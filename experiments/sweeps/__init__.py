"""Sweeps over settings and seeds, in this process and under Ray Tune."""

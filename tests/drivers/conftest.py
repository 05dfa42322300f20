"""Environments for drivers that say which row they are at."""

import os
import time

import numpy as np
import pytest


def make_counting(num_envs=2, episode=5, sleep=0.0, failure=None, flag=""):
    """Makes environments whose observations are (process, number of the row), where they are used.

    One in all processes fails at row 20, in the way that is named.
    """

    def make():
        class Counting:
            def __init__(self):
                from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs

                self.specs = EnvironmentSpecs(ArraySpec((2,), np.int32), DiscreteSpec(3))
                self.num_envs = num_envs
                self.rows = 0

            def reset(self, seed=None):
                return self._time_step(0)

            def step(self, action):
                time.sleep(sleep)
                self.rows += 1
                if failure and self.rows == 20:
                    self.fail()
                return self._time_step(self.rows)

            def close(self):
                pass

            def fail(self):
                try:
                    os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    return
                if failure == "exit":
                    os._exit(1)
                if failure == "raise":
                    raise ZeroDivisionError("inside the environment")
                while True:
                    pass

            def _time_step(self, row):
                from jax_agents.envs.types import TimeStep

                place = row % (episode + 1)
                kind = 0 if place == 0 else 2 if place == episode else 1
                leaves = (
                    np.int32(kind),
                    np.float32(place > 0),
                    np.float32(1),
                    np.array([os.getpid(), row], np.int32),
                )
                if num_envs is not None:
                    leaves = tuple(np.stack([leaf] * num_envs) for leaf in leaves)
                return TimeStep(*leaves)

        return Counting()

    return make


@pytest.fixture(scope="session")
def environments():
    """`make_counting`, which actors get by value: they cannot import it."""
    return make_counting

"""Segments and episodes by hand, of streams whose episodes end at different rows."""

import jax
import numpy as np

from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs, trajectory_spec
from jax_agents.envs.types import TimeStep, Trajectory
from jax_agents.replay.queues.assembler import Assembler

F, M, L = 0, 1, 2
SPEC = trajectory_spec(EnvironmentSpecs(ArraySpec(()), DiscreteSpec(2)))


def feed(assembler, *streams):
    """Adds rows given as strings of step types, one string a stream (its last letter is only what
    follows); returns the items' observations, which are 0, 1, 2, ... in the first stream and 100,
    101, ... in the second."""
    items = []
    for t in range(len(streams[0]) - 1):
        now, then = (np.array(["FML".index(s[t + k]) for s in streams], np.int32) for k in (0, 1))
        observation = np.array([100.0 * i + t for i in range(len(streams))], np.float32)
        zero = np.zeros(len(streams), np.float32)
        row = Trajectory(now, observation, zero.astype(np.int32), (), then, zero + 1, zero + 1)
        made, problem = assembler.add(jax.tree.leaves(row))
        items += [item.observation.tolist() for item in made]
        if problem is not None:
            items.append(problem)
    return items


def test_segments():
    assembler = Assembler(SPEC, 2, episodes=False)
    assert feed(assembler, "FMMLFMM", "FLFMLFM") == [
        [0, 1, 2],
        [100, 101, 102],
        [2, 3, 4],
        [102, 103, 104],
    ]
    assert (assembler.num_rows_added, assembler.num_dropped) == (12, 0)
    # Rows 4 and 5 of both streams are there; the time step after them completes their segments,
    # unless another follows.
    step = lambda kinds: TimeStep(
        np.array(kinds, np.int32), np.zeros(2), np.ones(2), np.array([6.0, 106.0], np.float32)
    )
    assert [item.observation.tolist() for item in assembler.bootstrap(step([F, M]))] == [
        [104, 105, 106]
    ]
    assert [item.observation.tolist() for item in assembler.bootstrap(step([M, M]))] == [[4, 5, 6]]
    assert assembler.bootstrap(step([M, M])) == []


def test_episodes():
    assembler = Assembler(SPEC, 3, episodes=True)
    items = feed(assembler, "FMMLFLFM", "MLFLFMLF")  # the second stream begins within an episode
    assert items == [
        [0, 1, 2, 3, 3],
        [102, 103, 103, 103, 103],
        [4, 5, 5, 5, 5],
        [104, 105, 106, 106, 106],
    ]
    assert (assembler.num_rows_added, assembler.num_dropped) == (14, 2)


def test_an_episode_that_is_too_long_takes_no_other_with_it():
    assembler = Assembler(SPEC, 3, episodes=True)
    *items, problem = feed(assembler, "FMMMM", "FMMLF")
    assert problem.startswith(
        "an episode of stream 0 has more than num_rows=3 steps; raise num_rows"
    )
    assert items == [[100, 101, 102, 103, 103]] and assembler.num_dropped == 4


def test_a_stream_that_begins_again_drops_what_is_open():
    assembler = Assembler(SPEC, 3, episodes=False)
    assert feed(assembler, "FMM") == feed(assembler, "FM") == []
    assert assembler.num_dropped == 2

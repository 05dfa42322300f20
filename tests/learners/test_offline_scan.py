"""The loop over a fixed data set: it learns, resumes exactly, and refuses what does not fit."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import agents, envs, networks
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs
from jax_agents.envs.types import StepType
from jax_agents.learners.offline_scan import OfflineScan
from jax_agents.networks.actor import ActorNetwork

SPECS = EnvironmentSpecs(ArraySpec((2,)), DiscreteSpec(2))


def make_loop(**options):
    rows = envs.sample(envs.trajectory_spec(SPECS), jax.random.key(0), (50, 1))
    rows = rows._replace(
        step_type=jnp.full_like(rows.step_type, StepType.MID),
        action=(rows.observation[..., 0] > 0).astype(jnp.int32),
    )
    agent = agents.BehavioralCloningAgent(SPECS, ActorNetwork(SPECS.action, (8,)), optax.adam(0.03))
    return OfflineScan(agent, None, rows, **{"batch_size": 16} | options)


def test_it_learns_and_n_and_then_m_iterations_are_n_plus_m():
    loop = make_loop()
    run = jax.jit(loop.run, static_argnums=(1, 2))
    whole, metrics = run(loop.init(jax.random.key(1)), 60, 3)
    assert metrics["loss"].shape == (3,) and metrics["loss"][2] < 0.5 * metrics["loss"][0]
    part, first = run(loop.init(jax.random.key(1)), 20, 1)
    part, _ = run(part, 40, 1)
    chex.assert_trees_all_close(part.train.params, whole.train.params, rtol=1e-6)
    np.testing.assert_allclose(first["loss"][0], metrics["loss"][0], rtol=1e-5)
    assert int(part.iteration) == int(part.train.step) == 60


def test_seeds_differ_and_vmap_runs_them_together():
    loop = make_loop()
    experiment = lambda key: loop.run(loop.init(key), 5)[0].train.params
    together = jax.jit(jax.vmap(experiment))(jax.random.split(jax.random.key(0), 2))
    alone = jax.jit(experiment)(jax.random.split(jax.random.key(0), 2)[1])
    chex.assert_trees_all_close(jax.tree.map(lambda x: x[1], together), alone, atol=1e-5)
    assert any((x[0] != x[1]).any() for x in jax.tree.leaves(together))


def test_clear_errors():
    loop = make_loop()
    flat = jax.tree.map(lambda x: x[:, 0], loop.rows)
    for call, match in (
        (partial(make_loop, batch_size=0), "batch_size >= 1, got 0"),
        (partial(OfflineScan, loop.agent, None, flat), r"rows \[N, T\].*got \[50\]"),
        (partial(loop.run, None, 10, 3), "multiple of num_reports=3, got 10"),
    ):
        with pytest.raises(ValueError, match=match):
            call()


def test_windows_without_boundary_rows_are_refused_for_agents_that_learn_from_them():
    agent = agents.DqnAgent(SPECS, networks.QNetwork(2, (4,)), optax.adam(0.01))
    step_type = jnp.array([[StepType.MID, StepType.FIRST]])
    next_step_type = jnp.array([[StepType.LAST, StepType.MID]])
    rows = envs.sample(envs.trajectory_spec(SPECS), jax.random.key(0), (1, 2))
    rows = rows._replace(step_type=step_type, next_step_type=next_step_type)
    with pytest.raises(ValueError, match="the boundary row between them is missing"):
        OfflineScan(agent, None, rows)
    OfflineScan(make_loop().agent, None, rows)  # it learns from each row alone
    OfflineScan(agent, None, rows._replace(step_type=next_step_type))

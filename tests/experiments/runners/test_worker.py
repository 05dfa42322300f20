"""An actor as functions see it: with none, in this process; tests of actors have some."""

import dataclasses
from functools import partial

import jax
import numpy as np
import pytest

from jax_agents import envs
from jax_agents.experiments import ReinforceConfig
from jax_agents.experiments.runners import ActorsRunner
from jax_agents.experiments.runners.worker import worker_of

CONFIG = ReinforceConfig(hidden=(8,), num_envs=2, num_rows=8)


@pytest.fixture
def runner():
    """A runner whose one collector is in this process, after a slice."""
    make_env = partial(envs.gym.make, "CartPole-v1")
    agent = CONFIG.agent(make_env(1).specs)
    runner = ActorsRunner(CONFIG, agent, make_env, CONFIG.agent, None, 0, num_workers=0)
    runner.advance(1)
    yield runner
    runner.close()


def in_worker(runner, function):
    """What a function of its worker gives."""
    call = lambda collector: function(worker_of(collector, CONFIG.agent, 7))
    (result,) = runner.driver.foreach_actor(call)
    return result


def test_a_worker_is_one_and_has_what_its_actor_has(runner):
    worker = in_worker(runner, lambda worker: worker)
    assert in_worker(runner, lambda again: again is worker)
    assert worker.num_steps == runner.num_steps > 0
    assert worker.env.num_envs == 2
    assert worker.seed == 7
    assert worker.train_state.opt_state == ()
    runner.sync_workers()
    jax.tree.map(
        np.testing.assert_array_equal,
        worker.train_state.params,
        runner.train_state.params,
    )
    assert int(worker.train_state.step) == int(runner.train_state.step) == 1


def test_weights_that_are_set_act_until_others_are_published(runner):
    worker = in_worker(runner, lambda worker: worker)
    observation = np.ones(4, np.float32)
    ones = jax.tree.map(np.ones_like, worker.get_policy().get_weights())
    worker.get_policy().set_weights(ones)
    jax.tree.map(np.testing.assert_array_equal, worker.get_policy().get_weights(), ones)
    distribution = worker.get_policy().action_distribution(observation)
    assert float(distribution.log_prob(0)) == pytest.approx(np.log(0.5))
    trained = runner.train_state
    runner.train_state = dataclasses.replace(trained, step=trained.step + 1)
    runner.sync_workers()
    weights = worker.get_policy().get_weights()
    assert not all(np.array_equal(leaf, np.ones_like(leaf)) for leaf in jax.tree.leaves(weights))

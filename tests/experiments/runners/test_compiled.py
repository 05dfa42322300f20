"""The compiled runner: what it counts, and that it goes on exactly from what it gave."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents import envs
from jax_agents.experiments import A2cConfig, BcConfig, DqnConfig, ReinforceConfig
from jax_agents.experiments.runners import CompiledRunner
from jax_agents.experiments.runners.compiled import go_on_counting


def test_the_device_reports_the_warm_up_before_updates():
    env = envs.classic.CartPole()
    config = DqnConfig(
        hidden=(8,),
        warmup_steps=60,
        batch_size=4,
        steps_per_iteration=4,
        num_envs=2,
        steps_per_report=40,
    )
    runner = CompiledRunner(config, config.agent(env.specs), env, 0)
    assert runner.num_steps == 0
    assert runner.advance(40).num_updates == 0
    assert runner.num_steps == 40
    progress = runner.advance(40)
    # 60 rows of the warm-up have two boundary rows, which are no steps; so have those after it.
    # The steps from 60 on bring updates, one for every 4.
    assert (runner.num_steps, progress.num_updates) == (82, 5)
    assert int(runner.train_state.step) == 5
    state = runner.train_state  # still there after the next run has donated the loop's
    runner.advance(20)
    assert int(state.step) == 5


def test_steps_that_do_not_divide_among_environments():
    env = envs.classic.CartPole()
    config = DqnConfig(num_envs=3, steps_per_iteration=4, warmup_steps=30, hidden=(4,))
    runner = CompiledRunner(config, config.agent(env.specs), env, 0)
    runner.advance(30)
    assert runner.advance(60).num_updates == (runner.num_steps - 30) // 4


def test_it_goes_on_exactly_from_what_it_gave():
    env = envs.classic.CartPole()
    config = ReinforceConfig(hidden=(8,), num_envs=2, num_rows=8)
    make = lambda seed: CompiledRunner(config, config.agent(env.specs), env, seed)
    runner = make(0)
    runner.advance(16)
    state, counters = runner.state()
    state = jax.tree.map(jnp.copy, state)  # the next run donates it
    other = make(1)
    other.set_state(state, json.loads(json.dumps(counters)), seed=5)
    assert other.num_steps == runner.num_steps == 16
    first = runner.advance(16)
    second = other.advance(16)
    assert first.num_updates == second.num_updates > 0
    assert first.metrics == second.metrics
    jax.tree.map(
        np.testing.assert_array_equal,
        runner.train_state.params,
        other.train_state.params,
    )
    runner.close()
    other.close()


def test_a_replaced_state_is_copied_and_learned_from():
    env = envs.classic.CartPole()
    config = A2cConfig(hidden=(8,), num_envs=2, num_rows=8)
    runner = CompiledRunner(config, config.agent(env.specs), env, 0)
    zeros = jax.tree.map(jnp.zeros_like, runner.train_state.params)
    given = dataclasses.replace(runner.train_state, params=zeros)
    runner.train_state = given
    assert not any(leaf.any() for leaf in jax.tree.leaves(runner.train_state.params))
    runner.advance(16)
    assert not any(leaf.any() for leaf in jax.tree.leaves(given.params))  # not donated
    assert any(leaf.any() for leaf in jax.tree.leaves(runner.train_state.params))
    runner.close()


def test_a_data_set_that_is_none_is_told():
    env = envs.classic.CartPole()
    config = BcConfig(dataset="nowhere")
    with pytest.raises(ValueError, match="got 'nowhere', which is none"):
        CompiledRunner(config, config.agent(env.specs), env, 0)


def test_a_count_of_int32_may_wrap_around():
    """A run of 2^31 steps takes long; what is done with its counter is all that is tested here."""
    before = 2**31 - 10
    assert go_on_counting(before, np.int64(-(2**31) + 5)) == 2**31 + 5
    assert go_on_counting(before, before) == before
    counts = np.array([7, -(2**31)], np.int64)
    assert go_on_counting(np.array([2**32 + 3, before]), counts).tolist() == [2**32 + 7, 2**31]

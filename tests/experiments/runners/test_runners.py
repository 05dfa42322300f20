import jax
import numpy as np
import pytest

from jax_agents import envs, replay
from jax_agents.experiments import BcConfig, DqnConfig, PpoConfig
from jax_agents.experiments.runners import (
    CompiledRunner,
    LoopRunner,
    choose_replay,
    make_replay,
    resolve_replay,
)


def test_the_choice_of_replay_says_why(monkeypatch):
    monkeypatch.setattr(replay, "has_reverb", lambda: True)
    assert choose_replay("auto") == ("reverb", "an embedded Reverb server")
    assert choose_replay("reverb")[0] == "reverb"
    assert choose_replay("host") == ("host", "in process, as asked for")
    monkeypatch.setattr(replay, "has_reverb", lambda: False)
    kind, why = choose_replay("auto")
    assert kind == "host"
    assert "Python 3.11" in why and 'pip install "jax-agents[reverb]"' in why
    with pytest.raises(ImportError, match=r'pip install "jax-agents\[reverb\]"'):
        choose_replay("reverb")
    with pytest.raises(ValueError, match="expected 'auto', 'reverb' or 'host', got 'redis'"):
        choose_replay("redis")


@pytest.mark.parametrize(
    ("runner", "config", "kind"),
    [
        ("loop", DqnConfig(), "host"),
        ("vector", DqnConfig(num_envs=2), "host"),
        ("ray", DqnConfig(), "host"),
        ("device", DqnConfig(), "device"),
        ("loop", PpoConfig(), "none"),
        ("ray", PpoConfig(), "none"),
        ("device", PpoConfig(), "device"),
        ("device", BcConfig(dataset="rows.npz"), "none"),
    ],
)
def test_the_replay_of_a_run(runner, config, kind):
    assert resolve_replay(runner, config, "host")[0] == kind


def loop_runner(config, seed=0):
    env = envs.gym.make("CartPole-v1", None if config.num_envs == 1 else config.num_envs)
    agent = config.agent(env.specs)
    return LoopRunner(config, agent, env, make_replay("host", config, agent, seed), seed)


def test_the_loop_counts_steps_updates_and_episodes():
    runner = loop_runner(
        DqnConfig(hidden=(8,), warmup_steps=60, batch_size=4, steps_per_iteration=2)
    )
    first = runner.advance(50)
    assert (runner.num_steps, first.num_updates, first.metrics) == (50, 0, {})
    second = runner.advance(50)  # 10 of the warm-up, 40 with an update every second one
    assert (runner.num_steps, second.num_updates) == (100, 20)
    assert second.metrics["loss"] > 0
    episodes = first.episodes + second.episodes
    # reward 1 a step
    assert episodes and all(mean == length and count == 1 for mean, length, count in episodes)
    assert sum(length for _, length, _ in episodes) <= 100
    assert int(runner.train_state.step) == 20
    runner.close()


def test_the_loop_with_several_environments():
    runner = loop_runner(
        DqnConfig(hidden=(8,), warmup_steps=64, batch_size=4, num_envs=4, steps_per_iteration=4)
    )
    assert runner.advance(64).num_updates == 0
    assert runner.advance(40).num_updates == 10
    assert runner.num_steps >= 104
    runner.close()


def test_the_loop_goes_on_with_new_episodes_and_the_old_counters():
    config = DqnConfig(hidden=(8,), warmup_steps=30, batch_size=4, steps_per_iteration=1)
    runner, other = loop_runner(config), loop_runner(config, seed=1)
    runner.advance(50)
    state, counters = runner.state()
    other.replay.close()
    other = loop_runner(config, seed=1)
    other.replay.add(_any_row(other))
    other.set_state(state, counters, seed=5)
    assert other.num_steps == 50
    assert jax.tree.all(
        jax.tree.map(
            lambda a, b: bool(np.array_equal(a, b)), other.train_state.params, state["agent"].params
        )
    )
    for _ in range(5):
        other.replay.add(_any_row(other))
    assert other.advance(10).num_updates == 10  # no second warm-up
    runner.close(), other.close()


def _any_row(runner):
    spec = runner._agent.collect_data_spec
    return jax.tree.map(lambda s: np.ones(s.shape, s.dtype), spec)  # MID follows MID


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
    assert (runner.num_steps, progress.num_updates) == (80, 5)
    assert int(runner.train_state.step) == 5
    state = runner.train_state  # still there after the next run has donated the loop's
    runner.advance(20)
    assert int(state.step) == 5


def test_steps_that_do_not_divide_among_environments():
    env = envs.classic.CartPole()
    config = DqnConfig(num_envs=2, steps_per_iteration=1)
    with pytest.raises(ValueError, match="expected a multiple of num_envs=2, got 1"):
        CompiledRunner(config, config.agent(env.specs), env, 0)

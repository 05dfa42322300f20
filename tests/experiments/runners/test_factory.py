"""The choice of a run's loop and of its replay, and what does not go together."""

import re

import pytest

from jax_agents import envs, replay
from jax_agents.experiments import A2cConfig, BcConfig, DqnConfig, EsConfig, PpoConfig
from jax_agents.experiments.runners import (
    ActorsRunner,
    CompiledRunner,
    LoopRunner,
    check_runner,
    choose_replay,
    make_runner,
    resolve_replay,
)
from jax_agents.experiments.runners.factory import RUNNERS


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


@pytest.mark.parametrize(
    ("runner", "config", "message"),
    [
        ("devise", DqnConfig(), "expected 'loop', 'vector', 'device' or 'ray', got 'devise'"),
        ("vector", DqnConfig(), "set config num_envs to their number"),
        ("loop", EsConfig(), f"runner 'loop': {re.escape(EsConfig.why_these_runners)}"),
        ("ray", BcConfig(), f"runner 'ray': {re.escape(BcConfig.why_these_runners)}"),
    ],
)
def test_runners_that_do_not_suit(runner, config, message):
    with pytest.raises(ValueError, match=message):
        check_runner(runner, config)
    check_runner("device", config)


def test_each_kind_of_replay_has_its_runner(tmp_path):
    leftover = tmp_path / "jax-agents-reverb-of-a-killed-process"
    leftover.mkdir()
    other = tmp_path / "checkpoint_00000001"
    other.mkdir()
    config = DqnConfig(hidden=(8,), warmup_steps=10, batch_size=4, replay_capacity=50)
    make_env = lambda num_envs=None: envs.gym.make("CartPole-v1", num_envs)
    agent = config.agent(make_env().specs)
    loop = make_runner(config, agent, make_env(), 0, "host", tmp_path)
    assert isinstance(loop, LoopRunner)
    assert loop.replay.capacity == 50
    assert not leftover.exists()
    assert other.exists()
    loop.close()
    actors = make_runner(config, agent, None, 0, "host", None, (make_env, config.agent, 0))
    assert isinstance(actors, ActorsRunner)
    assert actors.replay.capacity == 50
    actors.close()
    device = make_runner(config, agent, envs.classic.CartPole(), 0, "device", None)
    assert isinstance(device, CompiledRunner)
    assert device.replay is None
    device.close()


@pytest.mark.parametrize("runner", RUNNERS)
def test_another_word_for_replay_is_refused_by_every_runner(runner):
    for config in (DqnConfig(), PpoConfig()):
        with pytest.raises(ValueError, match=r"replay: expected .*, got 'revreb'"):
            resolve_replay(runner, config, "revreb")


def test_an_agent_of_fresh_rows_has_no_replay():
    config = A2cConfig(hidden=(8,))
    env = envs.gym.make("CartPole-v1")
    runner = make_runner(config, config.agent(env.specs), env, 0, "none", None)
    assert isinstance(runner, LoopRunner)
    assert runner.replay is None
    runner.close()

"""The messages for ids that are not registered, or whose packages are missing."""

import sys

import pytest

from jax_agents import envs


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (
            "Cartpole-v1",
            ValueError,
            "no environment 'Cartpole-v1' is registered; did you mean CartPole-v1",
        ),
        ("CartPole-v7", ValueError, "did you mean CartPole-v"),
        ("zzzz", ValueError, "pprint_registry"),
        (3, TypeError, "from_gym"),
    ],
)
def test_unknown_environments(given, error, words):
    with pytest.raises(error, match=words):
        envs.gym.make(given)


@pytest.mark.parametrize(
    ("env_id", "module", "words"),
    [
        ("LunarLander-v3", "Box2D", r'pip install "jax-agents\[box2d\]"'),
        ("Ant-v5", "mujoco", r'pip install "jax-agents\[mujoco\]"'),
        ("ALE/Pong-v5", "ale_py", r'pip install "jax-agents\[atari\]"'),
        ("PongNoFrameskip-v4", "ale_py", r'pip install "jax-agents\[atari\]"'),
    ],
)
def test_a_missing_extra_names_its_command(monkeypatch, env_id, module, words):
    monkeypatch.setitem(sys.modules, module, None)  # what an import then finds is "not installed"
    for name in [
        name
        for name in sys.modules
        if name.startswith(("gymnasium.envs.box2d", "gymnasium.envs.mujoco"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match=words):
        envs.gym.make(env_id)

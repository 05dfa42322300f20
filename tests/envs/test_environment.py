import pytest

from jax_agents import envs
from jax_agents.envs.environment import renderer


@pytest.mark.parametrize(
    "env",
    [
        envs.gym.make("CartPole-v1"),
        envs.gym.make("CartPole-v1", 2),
        envs.HostEnvironment(envs.classic.CartPole()),
    ],
)
def test_host_environments_meet_the_protocol(env):
    assert isinstance(env, envs.Environment)


@pytest.mark.parametrize(
    "env",
    [
        envs.classic.CartPole(),
        envs.TimeLimit(envs.classic.Pendulum(), 3),
        *envs.probes.all_probes(),
        envs.probes.OneState(),
    ],
)
def test_jax_environments_meet_theirs_and_not_the_host_one(env):
    assert isinstance(env, envs.JaxEnvironment) and not isinstance(env, envs.Environment)
    with pytest.raises(AttributeError):  # frozen
        env.specs = None
    assert hash(env) == object.__hash__(env)  # by identity, so that it is a static argument of jit


def test_the_renderer_of_an_environment():
    env = envs.classic.CartPole()
    assert renderer(env) == env.render
    with pytest.raises(NotImplementedError, match=r"OneState has no render\(state\); add one"):
        renderer(envs.probes.OneState())

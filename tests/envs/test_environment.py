import gymnasium
import jax
import optax
import pytest

from jax_agents import agents, drivers, envs, evaluation, learners, networks, policies
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


# -- what is given instead of an environment, or instead of a rollout's state

GYM = gymnasium.make("CartPole-v1")
POLICY = policies.RandomPolicy(envs.classic.CartPole().specs.action)
KEY = jax.random.key(0)
START = drivers.start_rollout(envs.classic.CartPole(), POLICY, KEY, KEY)
ES = agents.EsAgent(
    envs.classic.CartPole().specs,
    networks.ActorNetwork(envs.classic.CartPole().specs.action, (4,)),
    optax.sgd(0.1),
)
IN_JAX = {
    "rollout": lambda env: drivers.rollout(env, POLICY, (), START, 3),
    "start_rollout": lambda env: drivers.start_rollout(env, POLICY, KEY, KEY),
    "play_episodes": lambda env: drivers.play_episodes(env, POLICY, (), KEY, 2, 5),
    "evaluate_on_device": lambda env: evaluation.evaluate_on_device(env, POLICY, (), KEY),
    "HostEnvironment": lambda env: envs.HostEnvironment(env),
    "TimeLimit": lambda env: envs.TimeLimit(env, 5),
    "MapObservation": lambda env: envs.MapObservation(env, lambda x: x, env),
    "select_observation": lambda env: envs.select_observation(env, (0,)),
    "EvolutionScan": lambda env: learners.EvolutionScan(ES, env),
}
ON_THE_HOST = {
    "Driver": lambda env: drivers.Driver(env, POLICY),
    "ParallelDriver": lambda env: drivers.ParallelDriver(lambda: env, lambda specs: POLICY),
    "compute_returns": lambda env: evaluation.compute_returns(env, POLICY, 1),
    "compute_avg_return": lambda env: evaluation.compute_avg_return(env, POLICY, 1),
    "video": lambda env: evaluation.create_policy_eval_video(env, POLICY, "never.mp4"),
}
GIVEN = {
    "gymnasium's": GYM,
    "a host environment": envs.gym.make("CartPole-v1"),
    "one in JAX": envs.classic.CartPole(),
    "a class": envs.classic.CartPole,
    "an id": "CartPole-v1",
    "nothing": None,
}


@pytest.mark.parametrize("given", [name for name in GIVEN if name != "one in JAX"])
@pytest.mark.parametrize("function", IN_JAX)
def test_functions_for_environments_in_jax_say_so(function, given):
    with pytest.raises(TypeError, match=r"expected an environment in JAX, such as .*, got "):
        IN_JAX[function](GIVEN[given])


@pytest.mark.parametrize("given", [name for name in GIVEN if name != "a host environment"])
@pytest.mark.parametrize("function", ON_THE_HOST)
def test_functions_for_environments_on_the_host_say_so(function, given):
    with pytest.raises(
        TypeError, match=r"expected an environment such as envs.gym.make gives, got"
    ):
        ON_THE_HOST[function](GIVEN[given])


def test_a_state_that_is_none_of_a_rollout():
    with pytest.raises(TypeError, match="state: expected a RolloutState from start_rollout, got "):
        drivers.rollout(envs.classic.CartPole(), POLICY, (), START.env_state, 3)
    with pytest.raises(TypeError, match="EvolutionScan: expected an evolution strategy"):
        learners.EvolutionScan(POLICY, envs.classic.CartPole())

"""MuJoCo and Box2D through gymnasium: conventions, action bounds, pictures, and steps of SAC."""

import importlib.util
import itertools

import jax
import numpy as np
import optax
import pytest

from jax_agents import agents, drivers, envs, networks, policies, replay

needs_mujoco = pytest.mark.skipif(
    not importlib.util.find_spec("mujoco"), reason='needs pip install "jax-agents[mujoco]"'
)
needs_box2d = pytest.mark.skipif(
    not importlib.util.find_spec("Box2D"), reason='needs pip install "jax-agents[box2d]"'
)
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*deprecated"),
    # of gymnasium's viewer without OpenGL
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.mark.parametrize(
    ("name", "size", "action"),
    [
        pytest.param("HalfCheetah-v5", 17, (6, 1.0), marks=needs_mujoco),
        pytest.param("Hopper-v5", 11, (3, 1.0), marks=needs_mujoco),
        pytest.param("LunarLander-v3", 8, 4, marks=needs_box2d),
        pytest.param("LunarLanderContinuous-v3", 8, (2, 1.0), marks=needs_box2d),
        pytest.param("BipedalWalker-v3", 24, (4, 1.0), marks=needs_box2d),
    ],
)
def test_specs_and_conventions(name, size, action):
    env = envs.gym.make(name)
    observation, spec = env.specs.observation, env.specs.action
    # MuJoCo's are float64 inside
    assert observation.shape == (size,) and observation.dtype == np.float32
    if isinstance(action, int):
        assert spec.num_values == action
    else:
        assert (
            spec.shape == action[:1]
            and (spec.low == -action[1]).all()
            and (spec.high == action[1]).all()
        )
    envs.validate_environment(env, 150)
    env.close()


@needs_box2d
def test_options_of_the_environment():
    env = envs.gym.make("LunarLander-v3", env_options={"continuous": True})
    assert env.specs.action == envs.gym.make("LunarLanderContinuous-v3").specs.action


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("HalfCheetah-v5", marks=needs_mujoco),
        pytest.param("LunarLanderContinuous-v3", marks=needs_box2d),
    ],
)
def test_sac_trains(name):
    env = envs.gym.make(name, 2)
    actor = networks.ActorNetwork(env.specs.action, (16,))
    agent = agents.SacAgent(env.specs, actor, networks.CriticNetwork((16,)), optax.adam(3e-4))
    state = agent.init(jax.random.key(0))
    buffer = replay.HostReplay(
        agent.collect_data_spec, capacity=1_000, sequence_length=agent.train_sequence_length
    )
    driver = drivers.Driver(
        env, policies.RandomPolicy(env.specs.action), [buffer.add], key=jax.random.key(1), seed=0
    )
    driver.run(num_steps=200)
    driver.set_policy(agent.collect_policy, jax.random.key(2))
    train, before = jax.jit(agent.train), jax.tree.map(np.asarray, state.params)
    for experience, _ in itertools.islice(buffer.as_dataset(sample_batch_size=16), 100):
        driver.run(num_steps=2, params=agent.policy_params(state))
        state, loss = train(state, experience)
    assert np.isfinite(loss.loss) and int(state.step) == 100
    for role in ("actor", "critic"):
        pairs = zip(jax.tree.leaves(before[role]), jax.tree.leaves(state.params[role]), strict=True)
        assert any((a != b).any() for a, b in pairs)
    env.close()


@needs_box2d
def test_box2d_pictures():
    env = envs.gym.make("LunarLander-v3")
    env.reset(seed=0)
    assert env.render().shape == (400, 600, 3)


@needs_mujoco
def test_mujoco_pictures_or_an_error_that_says_what_to_set(monkeypatch):
    env = envs.gym.make("HalfCheetah-v5")
    env.reset(seed=0)
    try:
        assert env.render().shape == (480, 480, 3)
    except RuntimeError as error:  # no OpenGL on this machine
        assert "MUJOCO_GL" in str(error)
    monkeypatch.setenv("MUJOCO_GL", "none-such")
    other = envs.gym.make("HalfCheetah-v5")
    other.reset(seed=0)
    with pytest.raises(
        RuntimeError, match=r"set the environment variable MUJOCO_GL.*'egl'.*'osmesa'"
    ):
        other.render()

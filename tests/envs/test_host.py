import jax
import numpy as np
import pytest

from jax_agents import envs
from jax_agents.envs import HostEnvironment, SpecError, probes
from jax_agents.envs.classic import CartPole, Pendulum

CARTPOLE = CartPole()


def test_is_the_jax_environment_step_by_step():
    host = HostEnvironment(CARTPOLE, num_envs=3)
    ours = host.reset(seed=5)
    state, theirs = envs.reset_batch(CARTPOLE, jax.random.key(5), 3)
    step = jax.jit(jax.vmap(CARTPOLE.step))
    for i in range(40):
        theirs = theirs._replace(
            step_type=np.broadcast_to(theirs.step_type, 3),
            reward=np.broadcast_to(theirs.reward, 3),
            discount=np.broadcast_to(theirs.discount, 3),
        )
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)
        action = np.array([0, 1, i % 2], np.int32)
        ours = host.step(action)
        state, theirs = step(state, action)
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(ours))


def test_copy_i_gets_key_i_of_the_split():
    keys = jax.random.split(jax.random.key(5), 3)
    batch = HostEnvironment(CARTPOLE, num_envs=3).reset(seed=5)
    for i in range(3):
        np.testing.assert_array_equal(batch.observation[i], CARTPOLE.reset(keys[i])[1].observation)
    single = HostEnvironment(CARTPOLE).reset(seed=5)
    np.testing.assert_array_equal(
        single.observation, CARTPOLE.reset(jax.random.key(5))[1].observation
    )


def test_seeds():
    host = HostEnvironment(CARTPOLE, seed=4)
    first, second = host.reset().observation, host.reset().observation
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, host.reset(seed=4).observation)
    np.testing.assert_array_equal(second, host.reset().observation)
    # a step resets first
    np.testing.assert_array_equal(
        first, HostEnvironment(CARTPOLE, seed=4).step(np.int32(0)).observation
    )


def test_results_are_the_caller_s_own():
    host = HostEnvironment(CARTPOLE)
    time_step = host.reset(seed=0)
    time_step.observation[:] = 7  # writable
    assert np.abs(host.step(1).observation).max() < 1


@pytest.mark.parametrize(
    ("env", "num_envs", "action"),
    [
        (CARTPOLE, None, np.array([1])),
        (CARTPOLE, None, 0.5),
        (CARTPOLE, 2, np.int32(1)),
        (CARTPOLE, 2, np.zeros(3, np.int32)),
        (Pendulum(), None, np.float32(1)),
        (Pendulum(), 2, np.zeros((2, 1))),
    ],
)
def test_wrong_actions_are_refused_and_lose_nothing(env, num_envs, action):
    host = HostEnvironment(env, num_envs)
    host.reset(seed=0)
    before = host.state
    with pytest.raises(SpecError, match="action"):
        host.step(action)
    assert host.state is before


def test_render_and_close():
    host = HostEnvironment(CARTPOLE, 2)
    with pytest.raises(RuntimeError, match="reset"):
        host.render()
    host.reset()
    assert host.render().shape == (2, 400, 600, 3)
    single = HostEnvironment(CARTPOLE)
    single.reset()
    assert single.render().shape == (400, 600, 3)
    host.close()
    host.close()
    bare = HostEnvironment(probes.ConstantReward())
    bare.reset()
    with pytest.raises(NotImplementedError, match="ConstantReward has no render"):
        bare.render()


def test_num_envs_is_checked():
    with pytest.raises(ValueError, match="num_envs"):
        HostEnvironment(CARTPOLE, 0)


def test_two_adapters_of_one_environment_share_their_compilations():
    traces = []

    class Counted(CartPole):
        def dynamics(self, physics, action):
            traces.append(1)
            return super().dynamics(physics, action)

    env = Counted()
    for _ in range(2):
        host = HostEnvironment(env, 2)
        host.reset()
        for _ in range(3):
            host.step(np.zeros(2, np.int32))
    assert len(traces) == 1

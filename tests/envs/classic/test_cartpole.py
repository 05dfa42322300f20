import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents import envs
from jax_agents.envs.classic import CartPole


@pytest.mark.parametrize("seed", range(3))
def test_random_actions_match_gymnasium_until_the_pole_falls(same_as_gymnasium, seed):
    last, length = same_as_gymnasium(
        CartPole(), "CartPole-v1", lambda o, rng: rng.integers(2), seed=seed
    )
    assert float(last.discount) == 0.0 and length < 500


def test_matches_gymnasium_up_to_the_time_limit(same_as_gymnasium):
    # resynchronised: 500 steps of an unstable pole magnify rounding
    last, length = same_as_gymnasium(
        CartPole(),
        "CartPole-v1",
        lambda o, rng: o[0] / 10 + o[1] / 5 + o[2] * 3 + o[3] > 0,
        resync=True,
    )
    assert float(last.discount) == 1.0 and length == 500


def test_falling_exactly_at_the_limit_is_a_termination():
    env = CartPole(max_episode_steps=1)
    state, _ = env.reset(jax.random.key(0))
    state = state.replace(physics=jnp.array([0.0, 0.0, 0.3, 0.0]))
    _, time_step = env.step(state, jnp.int32(0))
    assert int(time_step.step_type) == 2 and float(time_step.discount) == 0.0


@pytest.mark.parametrize(
    ("physics", "fallen"),
    [
        ([2.399, 0, 0, 0], False),
        ([2.401, 0, 0, 0], True),
        ([-2.401, 0, 0, 0], True),
        ([0, 0, 0.2094, 0], False),
        ([0, 0, 0.2095, 0], True),
        ([0, 0, -0.2095, 0], True),
    ],
)
def test_the_limits(physics, fallen):
    assert bool(CartPole().dynamics(jnp.array(physics, jnp.float32), jnp.int32(0))[2]) == fallen


def test_one_step_by_hand():
    # at rest in the middle: push = 10 / 1.1; angle_acc = -push / (0.5 (4/3 - 0.1/1.1)); x_acc =
    # push - 0.05 angle_acc / 1.1
    env = CartPole()
    physics, reward, terminated = env.dynamics(jnp.zeros(4), jnp.int32(1))
    push = 10 / 1.1
    angle_acc = -push / (0.5 * (4 / 3 - 0.1 / 1.1))
    np.testing.assert_allclose(
        physics, [0, 0.02 * (push - 0.05 * angle_acc / 1.1), 0, 0.02 * angle_acc], rtol=1e-6
    )
    assert reward == 1.0 and not terminated


def test_parameters_change_the_dynamics_and_the_limit():
    heavy, light = CartPole(pole_mass=1.0), CartPole()
    assert not np.allclose(heavy.dynamics(jnp.ones(4), 1)[0], light.dynamics(jnp.ones(4), 1)[0])
    assert CartPole(x_limit=1.0).specs.observation.high[0] == 2.0


def test_a_batch_in_a_scan_keeps_the_types_and_ends_at_gymnasium_s_lengths():
    env = CartPole()

    @jax.jit
    def run(key):
        state, first = envs.reset_batch(env, key, 8)

        def body(carry, key):
            state, _ = carry
            action = jax.random.randint(key, (8,), 0, 2)
            state, time_step = envs.step_batch(env, state, action, 8)
            return (state, time_step), time_step

        (_, _), steps = jax.lax.scan(
            body, (state, jax.tree.map(jnp.asarray, first)), jax.random.split(key, 300)
        )
        return steps

    steps = jax.device_get(run(jax.random.key(1)))
    want = envs.TimeStep(
        envs.ArraySpec((), np.int32), env.specs.reward, env.specs.discount, env.specs.observation
    )
    envs.validate(steps, want, batch_ndim=2)
    lengths = [np.diff(np.flatnonzero(steps.step_type[:, i] == 0)) - 1 for i in range(8)]
    mean = np.concatenate(lengths).mean()
    assert 17 < mean < 28  # random actions hold the pole for 22 steps
    after_last = steps.step_type[1:][steps.step_type[:-1] == 2]
    assert (after_last == 0).all()
    firsts = steps.observation[steps.step_type == 0]
    assert len(np.unique(firsts, axis=0)) == len(firsts)  # every episode starts elsewhere


def test_render():
    env = CartPole()
    state, _ = env.reset(jax.random.key(0))
    tilted = env.render(state.replace(physics=np.array([1.0, 0.0, 0.2, 0.0], np.float32)))
    assert tilted.dtype == np.uint8 and tilted.shape == (400, 600, 3)
    assert not np.array_equal(tilted, env.render(state))

"""The comparison with gymnasium that every classic environment has to pass."""

import jax
import numpy as np
import pytest

from jax_agents import envs


@pytest.fixture
def same_as_gymnasium():
    """Compares an episode with gymnasium's, from the same state, up to a step after the next reset.

    With `resync`, every step starts from gymnasium's state (float32 diverges from float64 where the
    dynamics are chaotic). Returns the LAST time step and the number of steps taken to it.
    """

    def compare(env, env_id, policy, *, resync=False, seed=0, atol=1e-4, reward_atol=1e-4):
        rng = np.random.default_rng(seed)
        reset, step = jax.jit(env.reset), jax.jit(env.step)
        theirs = envs.gym.make(env_id, render_mode=None)
        physics_of = theirs.env.unwrapped
        assert str(env.specs) == str(theirs.specs)  # the same spaces: shapes, dtypes, bounds

        def align(state):
            physics_of.state = np.asarray(state.physics, np.asarray(physics_of.state).dtype)

        state, ours = reset(jax.random.key(seed))
        their_step = theirs.reset(seed=seed)
        align(state)
        assert int(ours.step_type) == int(their_step.step_type) == 0
        last, length, count = None, 0, 0
        while last is None or count < length + 2:
            observation = np.asarray(ours.observation)
            action = np.asarray(policy(observation, rng), env.specs.action.dtype)
            state, ours = step(state, action)
            their_step = theirs.step(action)
            count += 1
            if int(their_step.step_type) == 0:
                align(state)
            else:
                np.testing.assert_allclose(
                    ours.observation,
                    their_step.observation,
                    atol=atol,
                    rtol=1e-4,
                    err_msg=f"{count}",
                )
            np.testing.assert_allclose(
                ours.reward, their_step.reward, atol=reward_atol, rtol=1e-4, err_msg=f"{count}"
            )
            assert int(ours.step_type) == int(their_step.step_type), count
            assert float(ours.discount) == float(their_step.discount), count
            if last is None and int(ours.step_type) == 2:
                last, length = ours, count
            if resync:
                state = state.replace(physics=np.asarray(physics_of.state, np.float32))
        theirs.close()
        return last, length

    return compare

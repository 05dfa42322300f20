import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.envs import restart, termination, transition, truncation

OBSERVATION = np.ones(3, np.float32)


@pytest.mark.parametrize(
    ("time_step", "step_type", "reward", "discount"),
    [
        (restart(OBSERVATION), 0, 0, 1),
        (transition(OBSERVATION, reward=2), 1, 2, 1),
        (transition(OBSERVATION, reward=2, discount=0.5), 1, 2, 0.5),
        (termination(OBSERVATION, reward=np.float64(3)), 2, 3, 0),
        (truncation(OBSERVATION, reward=4.0), 2, 4, 1),
    ],
)
def test_each_kind(time_step, step_type, reward, discount):
    assert (time_step.step_type, time_step.reward, time_step.discount) == (
        step_type,
        reward,
        discount,
    )
    assert (time_step.step_type.dtype, time_step.reward.dtype, time_step.discount.dtype) == (
        np.int32,
        np.float32,
        np.float32,
    )
    assert time_step.observation is OBSERVATION


def test_batches():
    first = restart(np.ones((2, 3)), batch_shape=(2,))
    assert first.step_type.shape == first.reward.shape == first.discount.shape == (2,)
    last = termination(np.ones((2, 3)), reward=np.array([1.0, 2.0]), batch_shape=(2,))
    np.testing.assert_array_equal(last.reward, [1, 2])
    np.testing.assert_array_equal(last.discount, [0, 0])
    np.testing.assert_array_equal(last.step_type, [2, 2])
    np.testing.assert_array_equal(
        transition(np.ones((2, 3)), reward=1.0, batch_shape=(2,)).reward, [1, 1]
    )


def test_traced():
    made = jax.jit(
        lambda r: (
            transition(r, reward=r),
            termination(r, reward=r),
            truncation(r, reward=r),
            restart(r),
        )
    )(jnp.int32(3))
    assert [float(t.discount) for t in made] == [1, 0, 1, 1]
    assert all(t.reward.dtype == np.float32 and t.step_type.dtype == np.int32 for t in made)


@pytest.mark.parametrize("make", [transition, termination, truncation])
@pytest.mark.parametrize("arguments", [(OBSERVATION, 1.0), (1.0, OBSERVATION)], ids=["tfa", "dm"])
def test_no_order_of_arguments_can_be_mistaken(make, arguments):
    with pytest.raises(TypeError, match="positional argument"):
        make(*arguments)
    with pytest.raises(TypeError, match="positional argument"):
        restart(OBSERVATION, 2)  # TF-Agents' batch size

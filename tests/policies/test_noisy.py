"""Acting with noise: a draw for each environment and call, and none without the wrapper."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.envs.time_step import restart
from jax_agents.networks import QNetwork
from jax_agents.policies import NoisyPolicy, QPolicy

NETWORK = QNetwork(50, (8,), noisy_sigma=0.5)
PARAMS = {"params": {"q": NETWORK.init(jax.random.key(0), jnp.ones(3))}, "step": jnp.int32(0)}
STEP = restart(np.ones((20, 3), np.float32), batch_shape=(20,))


class Recorder:
    """Stores the keys that it is handed in place of acting."""

    def action(self, params, time_step, state=(), key=None):
        return params["noise"], key


def test_each_environment_has_a_key_of_its_own_and_the_draw_another():
    keys, rest = NoisyPolicy(Recorder()).action(PARAMS, STEP, (), jax.random.key(3))
    data = np.asarray(jax.random.key_data(keys))
    assert data.shape[0] == 20 and len(np.unique(data, axis=0)) == 20
    assert (np.asarray(jax.random.key_data(rest)) != data).any(axis=-1).all()


def test_noise_changes_the_values_that_are_acted_on():
    policy = NoisyPolicy(QPolicy(NETWORK, temperature=1e-6))
    actions = [policy.action(PARAMS, STEP, (), jax.random.key(seed)).action for seed in (0, 0, 1)]
    np.testing.assert_array_equal(actions[0], actions[1])
    assert (actions[0] != actions[2]).any() and len(np.unique(actions[0])) > 1
    quiet = policy.distribution(PARAMS, STEP).action.mode()
    assert len(np.unique(quiet)) == 1


def test_a_key_is_needed():
    with pytest.raises(ValueError, match=r"expected a random key, got None; agent.policy acts"):
        NoisyPolicy(QPolicy(NETWORK)).action(PARAMS, STEP)

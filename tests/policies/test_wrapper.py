"""The base of wrappers hands on what it does not change."""

import jax.numpy as jnp
import numpy as np

from jax_agents.envs.time_step import restart
from jax_agents.policies import PolicyWrapper, ScriptedPolicy


def test_state_and_distribution_are_the_wrapped_policys():
    script = ScriptedPolicy([(1, 7), (1, 3)])
    wrapper = PolicyWrapper(script)
    np.testing.assert_array_equal(wrapper.initial_state((2,)), [0, 0])
    step = wrapper.distribution((), restart(jnp.zeros(4)), jnp.int32(1))
    assert step.action.mode() == 3 and step.state == 2

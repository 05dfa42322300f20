"""Constants and schedules of the update count."""

import jax
import jax.numpy as jnp
import optax

from jax_agents.policies import value_at


def test_a_constant_is_itself_and_a_schedule_is_evaluated():
    assert value_at(0.3, jnp.int32(5)) == 0.3
    assert value_at(optax.linear_schedule(1.0, 0.0, 10), jnp.int32(4)) == jnp.float32(0.6)


def test_a_traced_number_is_a_constant():
    assert jax.jit(lambda x: value_at(x, jnp.int32(5)))(2.0) == 2.0

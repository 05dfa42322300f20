"""All distributions: their use under jit, vmap and scan."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.networks.distributions import (
    Categorical,
    Deterministic,
    MultiCategorical,
    Normal,
    TanhNormal,
    Uniform,
)

KEY = jax.random.key(0)
CLOSE = {"rtol": 1e-5, "atol": 1e-6}
EVERY = {
    "categorical": Categorical(np.float32([[1, 2, 3], [3, 2, 1]])),
    "masked": Categorical(
        np.float32([[1, 2, 3], [3, 2, 1]]), np.array([[True, True, False], [True, False, True]])
    ),
    "multi": MultiCategorical(np.float32([[1, 2, 3, 4, 5], [5, 4, 3, 2, 1]]), (2, 3)),
    "normal": Normal(np.float32([[1, 2], [3, 4]]), np.float32([[1, 2], [1, 2]])),
    "tanh": TanhNormal(
        np.float32([[0.1, 0.2], [0.3, 0.4]]),
        np.float32([[1, 0.2], [1, 0.2]]),
        (-2.0, -1.0),
        (2.0, 3.0),
    ),
    "uniform": Uniform(np.float32([[1, 2], [3, 4]]), np.float32([[2, 3], [4, 5]])),
    "deterministic": Deterministic(np.float32([[1, 2], [3, 4]]), 1),
}


@pytest.mark.parametrize("name", EVERY)
def test_they_pass_through_jit_vmap_and_scan(name):
    d = EVERY[name]
    action, log_prob = jax.jit(lambda d, key: d.sample_and_log_prob(key))(d, KEY)
    assert log_prob.shape == (2,) and action.shape == (2,) + (2,) * d.event_ndim
    mapped = jax.vmap(lambda d, a: (d.log_prob(a), d.mode()))(d, action)
    np.testing.assert_allclose(mapped[0], d.log_prob(action), **CLOSE)
    np.testing.assert_allclose(mapped[1], d.mode(), **CLOSE)
    np.testing.assert_allclose(log_prob, mapped[0], rtol=1e-4, atol=1e-4)
    carried, (stacked, draws) = jax.lax.scan(
        lambda c, key: (c, (c, c.sample(key))), d, jax.random.split(KEY, 2)
    )
    assert jax.tree.structure(carried) == jax.tree.structure(d) == jax.tree.structure(stacked)
    np.testing.assert_allclose(
        stacked.log_prob(draws), jnp.stack([d.log_prob(x) for x in draws]), rtol=1e-4, atol=1e-4
    )
    if name != "deterministic":
        assert not np.array_equal(draws[0], draws[1]) or action.dtype == np.int32
    if name != "tanh":
        assert d.entropy().shape == (2,)
    np.testing.assert_allclose(d.kl_divergence(d), np.zeros(2), atol=1e-6)

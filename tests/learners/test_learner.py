"""Updates on 1, 2 and 4 devices are the same, by pmap and by sharding; padding, placing, errors."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import agents, networks
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs, sample
from jax_agents.envs.types import StepType
from jax_agents.learners import Learner
from jax_agents.learners.sharding import pad_batch

SPECS = EnvironmentSpecs(ArraySpec((3,)), DiscreteSpec(2))
# Plain SGD: Adam would hide a wrong scale.
AGENT = agents.DqnAgent(
    SPECS, networks.QNetwork(2, (8,)), optax.sgd(0.1), double=True, target_update=agents.polyak(0.3)
)
METHODS = [("sharded", 1), ("sharded", 2), ("sharded", 4), ("pmap", 1), ("pmap", 2), ("pmap", 4)]


def batch(size, seed=0):
    """Random windows, the first two and every fifth masked (LAST), all rewards of one sign."""
    rows = sample(AGENT.collect_data_spec, jax.random.key(seed), (size, 2))
    step_type = np.full((size, 2), StepType.MID)
    step_type[:2, 0] = step_type[::5, 0] = StepType.LAST
    return jax.tree.map(
        np.asarray, rows._replace(step_type=step_type, reward=jnp.abs(rows.reward) + 1)
    )


WEIGHTS = np.linspace(0.2, 3, 10).astype(np.float32)
UPDATES = 20


@pytest.fixture(scope="module")
def expected():
    """The state and the loss after updates of 10 windows on one device, without weights and with
    them.
    """
    train = jax.jit(AGENT.train)
    results = []
    for weights in (None, WEIGHTS):
        state = AGENT.init(jax.random.key(0))
        for seed in range(UPDATES):
            state, info = train(state, batch(10, seed), weights)
        results.append((state, info))
    return results


@pytest.mark.skipif(
    jax.device_count() < 4,
    reason="needs 4 devices: XLA_FLAGS was set without them, or JAX had started",
)
@pytest.mark.parametrize(("method", "count"), METHODS)
def test_n_devices_equal_one(expected, method, count):
    learner = Learner(AGENT, jax.devices()[:count], method)
    for weights, (state, info) in zip((None, WEIGHTS), expected, strict=True):
        placed = learner.init(jax.random.key(0))
        for seed in range(UPDATES):  # of parts of 3, 3, 3 and 1 window on four devices
            placed, got = learner.train(placed, batch(10, seed), weights)
        fetched = learner.fetch(placed)
        chex.assert_trees_all_close(fetched.params, state.params, rtol=1e-5, atol=1e-7)
        chex.assert_trees_all_close(
            fetched.target_params, state.target_params, rtol=1e-5, atol=1e-7
        )
        assert int(fetched.step) == UPDATES
        np.testing.assert_array_equal(
            jax.random.key_data(fetched.key), jax.random.key_data(state.key)
        )
        chex.assert_trees_all_close(got.metrics, info.metrics, rtol=1e-5)
        np.testing.assert_allclose(got.loss, info.loss, rtol=1e-5)
        assert got.loss.shape == ()
        np.testing.assert_allclose(
            got.per_example["td_error"], info.per_example["td_error"], rtol=1e-4, atol=1e-6
        )
        for shard in jax.tree.leaves(fetched):
            assert shard.devices() == {learner.devices[0]}


@pytest.mark.skipif(jax.device_count() < 4, reason="needs 4 devices")
@pytest.mark.parametrize("method", ["pmap", "sharded"])
def test_a_device_may_get_no_window(method):
    train = jax.jit(AGENT.train)
    one = AGENT.init(jax.random.key(0))
    learner = Learner(AGENT, jax.devices()[:4], method)
    state = learner.init(jax.random.key(0))
    for seed in range(UPDATES):
        three = jax.tree.map(lambda x: x[2:5], batch(10, seed))
        one, _ = train(one, three)
        state, info = learner.train(state, three)
    chex.assert_trees_all_close(learner.fetch(state).params, one.params, rtol=1e-5, atol=1e-7)
    assert info.per_example["td_error"].shape == (3,)


def test_jit_on_one_device_is_the_agents_own_update(expected):
    learner = Learner(AGENT)
    assert len(learner.devices) == 1
    state = learner.init(jax.random.key(0))
    for seed in range(UPDATES):
        state, info = learner.train(state, batch(10, seed), WEIGHTS)
    chex.assert_trees_all_close(state.params, expected[1][0].params, rtol=1e-6)
    np.testing.assert_allclose(info.loss, expected[1][1].loss, rtol=1e-6)


@pytest.mark.parametrize("method", ["jit", "sharded", "pmap"])
def test_the_update_is_traced_once_and_donates_its_state(method):
    traces = []

    class Counted:
        """The agent, counting how often its update is traced."""

        init = staticmethod(AGENT.init)

        @staticmethod
        def train(*args, **kwargs):
            traces.append(1)
            return AGENT.train(*args, **kwargs)

    learner = Learner(
        Counted(), jax.devices()[:1] if method == "jit" else jax.devices()[:2], method
    )
    original = AGENT.init(jax.random.key(0))
    state = learner.place(original)
    counts = []
    for seed in range(3):
        before = state
        (state, _) = learner.train(state, batch(4, seed))
        counts.append(len(traces))
        assert before.params["q"]["params"]["Dense_0"]["kernel"].is_deleted()
    assert counts == [1, 1, 1]
    chex.assert_tree_all_finite(original.params)  # what was placed is a copy, and lives on
    kept = learner.fetch(state)
    learner.train(state, batch(4))
    chex.assert_tree_all_finite(kept.params)  # and so is what was fetched


def test_padding_keeps_the_loss():
    rows, weights = pad_batch(batch(10), None, 4)
    assert rows.reward.shape == (12, 2)
    np.testing.assert_allclose(weights, [1.2] * 10 + [0, 0])
    _, weights = pad_batch(batch(10), WEIGHTS, 4)
    np.testing.assert_allclose(weights[:10], WEIGHTS * 1.2, rtol=1e-6)
    same, none = pad_batch(batch(8), None, 4)
    assert none is None and same.reward.shape == (8, 2)


def test_errors():
    with pytest.raises(ValueError, match="expected 'jit', 'pmap' or 'sharded', got 'ddp'"):
        Learner(AGENT, method="ddp")
    with pytest.raises(ValueError, match="one device, got 2; use 'pmap' or 'sharded'"):
        Learner(AGENT, [jax.devices()[0]] * 2, "jit")
    learner = Learner(AGENT)
    with pytest.raises(ValueError, match="sequence_length"):
        learner.train(learner.init(jax.random.key(0)), jax.tree.map(lambda x: x[:, :1], batch(4)))

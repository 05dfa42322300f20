"""The device buffer against a naive model; in a scan, under vmap, and its priorities."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jax_agents.envs.specs import (
    ArraySpec,
    DiscreteSpec,
    EnvironmentSpecs,
    SpecError,
    trajectory_spec,
)
from jax_agents.envs.types import Trajectory
from jax_agents.replay import DeviceReplay

OBSERVATION = {
    "camera": ArraySpec((33, 32), np.uint8),
    "half": ArraySpec((2,), jnp.bfloat16),
    "id": ArraySpec((2,)),
}
SPEC = trajectory_spec(
    EnvironmentSpecs(OBSERVATION, DiscreteSpec(1_000_000)), {"flag": ArraySpec((), np.bool_)}
)
SMALL = trajectory_spec(EnvironmentSpecs(ArraySpec((3,)), DiscreteSpec(1_000_000)))


def make_rows(start, num_rows, num_envs, spec=SMALL):
    """Rows [B, T] whose leaves all tell the row (start, start + 1, ...) and the environment."""
    number = (
        start
        + jnp.arange(num_rows, dtype=jnp.int32)[None]
        + 1000 * jnp.arange(num_envs, dtype=jnp.int32)[:, None]
    )

    def fill(leaf):
        value = number % 2 if leaf.dtype == np.bool_ else number % 251
        value = number if leaf.dtype in (np.int32, np.float32) else value
        value = value.reshape(num_envs, num_rows, *[1] * len(leaf.shape))
        return jnp.broadcast_to(value, (num_envs, num_rows, *leaf.shape)).astype(leaf.dtype)

    return jax.tree.map(fill, spec)


@functools.lru_cache
def compiled(replay_args, num_rows):
    capacity, length, num_envs = replay_args
    replay = DeviceReplay(SMALL, capacity, sequence_length=length, num_envs=num_envs)
    add = jax.jit(
        lambda state, start: replay.add(state, make_rows(start, num_rows, num_envs)),
        donate_argnums=0,
    )
    return replay, add, jax.jit(lambda state, key: replay.sample(state, key, 512))


@settings(max_examples=25, deadline=None)
@given(
    config=st.sampled_from([(12, 1, 1), (12, 3, 1), (13, 2, 3), (24, 4, 2)]),
    blocks=st.lists(st.sampled_from([1, 3, 4]), min_size=0, max_size=14),
    seed=st.integers(0, 2**31),
)
def test_the_windows_are_those_of_a_naive_model(config, blocks, seed):
    capacity, length, num_envs = config
    state, total = (
        DeviceReplay(SMALL, capacity, sequence_length=length, num_envs=num_envs).init(),
        0,
    )
    replay, _, sample = compiled(config, 1)
    for num_rows in blocks:
        state = compiled(config, num_rows)[1](state, total)
        total += num_rows
    kept = range(max(0, total - capacity // num_envs), total)
    want = {
        tuple(1000 * b + t + i for i in range(length))
        for b in range(num_envs)
        for t in kept
        if t + length <= total
    }
    assert int(replay.num_rows(state)) == len(kept) * num_envs
    assert int(replay.num_items(state)) == len(want)
    assert bool(replay.can_sample(state, len(want)))
    assert not bool(replay.can_sample(state, len(want) + 1))
    if want:
        experience, info = sample(state, jax.random.key(seed))
        assert {
            tuple(w) for w in experience.action.tolist()
        } == want  # 512 draws of at most 22: misses one once in 1e9
        np.testing.assert_array_equal(info.table_size, len(want))
        np.testing.assert_allclose(info.probability, 1 / len(want), rtol=1e-6)
        for leaf in (experience.reward, experience.observation[..., 2]):
            np.testing.assert_array_equal(leaf, experience.action)


def test_every_dtype_comes_back_as_it_went_in():
    replay = DeviceReplay(SPEC, 40, sequence_length=3, num_envs=2)
    rows = make_rows(0, 20, 2, SPEC)
    state = replay.add(replay.init(), rows)
    assert set(state.columns) == {"leaf1", "packed8", "packed16", "packed32"}
    experience, _ = replay.sample(state, jax.random.key(0), 16)
    env, first = experience.action[:, 0] // 1000, experience.action[:, 0] % 1000
    want = jax.tree.map(
        lambda x: jnp.stack(
            [x[b, t : t + 3] for b, t in zip(env.tolist(), first.tolist(), strict=True)]
        ),
        rows,
    )
    for got, leaf in zip(jax.tree.leaves(experience), jax.tree.leaves(want), strict=True):
        assert got.dtype == leaf.dtype
        np.testing.assert_array_equal(got, leaf)


def run(key, *, exponent=None, steps=60):
    """Adds a row of two environments and samples, so many times."""
    replay = DeviceReplay(SMALL, 40, num_envs=2, priority_exponent=exponent)

    def step(state, inputs):
        start, key = inputs
        state = replay.add(state, make_rows(start, 1, 2))
        sample = replay.sample(state, key, 8)
        if exponent is not None:
            state = replay.update_priorities(
                state, sample.info.key, sample.experience.reward[:, 0] % 5
            )
        return state, sample

    return jax.lax.scan(step, replay.init(), (jnp.arange(steps), jax.random.split(key, steps)))


@pytest.mark.parametrize("exponent", [None, 0.7])
def test_a_vmapped_scan_equals_single_ones(exponent):
    keys = jax.random.split(jax.random.key(0), 3)
    function = functools.partial(run, exponent=exponent)
    states, samples = jax.jit(jax.vmap(function))(keys)
    single = jax.jit(function)
    for i in range(3):
        want = single(keys[i])
        got = jax.tree.map(lambda x, i=i: x[i], (states, samples))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), got, want)
    first = samples.experience.action[:, 1:, :, 0] % 1000
    newest = np.arange(1, 60)[None, :, None]
    assert (first <= newest - 1).all()
    assert (first > newest - 20).all()
    np.testing.assert_array_equal(
        samples.experience.action[:, 1:, :, 1], samples.experience.action[:, 1:, :, 0] + 1
    )
    # every key draws otherwise
    assert len({tuple(x) for x in samples.experience.action[:, -1, :, 0].tolist()}) == 3


@settings(max_examples=15, deadline=None)
@given(blocks=st.lists(st.sampled_from([1, 3]), min_size=1, max_size=12), data=st.data())
def test_the_tree_is_that_of_a_naive_model(blocks, data):
    capacity, length, num_envs, exponent = 60, 3, 2, 0.5
    replay, add, update = prioritised(capacity, length, num_envs, exponent)
    state, total, priorities, highest = replay.init(), 0, {}, 1.0
    for num_rows in blocks:
        state = add[num_rows](state, total)
        total += num_rows
        for t in range(max(0, total - num_rows - length + 1), total - length + 1):
            priorities |= {(b, t): highest for b in range(num_envs)}
        priorities = {
            (b, t): p for (b, t), p in priorities.items() if t >= total - capacity // num_envs
        }
        if priorities:
            chosen = data.draw(
                st.lists(st.sampled_from(sorted(priorities)), min_size=2, max_size=2, unique=True)
            )
            new = data.draw(
                st.lists(st.sampled_from([0.0, 0.25, 4.0, 9.0]), min_size=2, max_size=2)
            )
            keys = jnp.array(
                [(t % (capacity // num_envs)) * num_envs + b for b, t in chosen], jnp.int32
            )
            state = update(state, keys, jnp.array(new))
            priorities |= dict(zip(chosen, new, strict=True))
            highest = max(highest, *new)
    leaves = np.zeros(capacity)
    for (b, t), p in priorities.items():
        leaves[(t % (capacity // num_envs)) * num_envs + b] = p**exponent
    np.testing.assert_allclose(state.tree[0].reshape(-1)[:capacity], leaves, rtol=1e-6)
    np.testing.assert_allclose(state.tree[-1].sum(), leaves.sum(), rtol=1e-5)
    assert float(state.max_priority) == highest


@functools.lru_cache
def prioritised(capacity, length, num_envs, exponent):
    replay = DeviceReplay(
        SMALL, capacity, sequence_length=length, num_envs=num_envs, priority_exponent=exponent
    )
    add = {
        n: jax.jit(lambda state, start, n=n: replay.add(state, make_rows(start, n, num_envs)))
        for n in (1, 3)
    }
    return replay, add, jax.jit(replay.update_priorities)


def test_prioritised_draws_follow_the_priorities():
    replay = DeviceReplay(SMALL, 5000, sequence_length=1, priority_exponent=0.5)
    state = replay.add(replay.init(), make_rows(0, 4000, 1))
    assert len(state.tree) == 4  # 5,000 leaves and three levels above
    state = replay.update_priorities(
        state, jnp.arange(4000), jnp.where(jnp.arange(4000) < 3990, 0.0, 4.0)
    )
    state = replay.update_priorities(
        state, jnp.array([3999, 4500, 3998]), jnp.array([36.0, 8.0, jnp.nan])
    )
    experience, info = jax.jit(replay.sample, static_argnums=2)(state, jax.random.key(1), 12_000)
    first = experience.action[:, 0]
    want = np.r_[np.full(9, 2.0), 6.0] / 24
    np.testing.assert_allclose(np.bincount(first - 3990, minlength=10) / 12_000, want, atol=0.02)
    np.testing.assert_allclose(info.probability, want[first - 3990], rtol=1e-5)
    np.testing.assert_allclose(info.priority, np.where(first == 3999, 36.0, 4.0), rtol=1e-5)
    assert float(state.max_priority) == 36.0  # neither the NaN nor the window that is not there


def test_the_buffer_is_updated_in_place():
    """Nothing in the compiled scan copies a whole column."""
    replay = DeviceReplay(SMALL, 100_000)

    def scan(state, keys):
        def step(state, key):
            state = replay.add(state, make_rows(3, 1, 1))
            return state, replay.sample(state, key, 4).experience.reward

        return jax.lax.scan(step, state, keys)

    function = jax.jit(scan, donate_argnums=0)
    memory = (
        function.lower(replay.init(), jax.random.split(jax.random.key(0), 10))
        .compile()
        .memory_analysis()
    )
    column = 100_000 * 8 * 4
    assert memory.alias_size_in_bytes >= column
    assert memory.temp_size_in_bytes < column / 10


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"capacity=7.*3 rows of each of 3"):
        DeviceReplay(SMALL, 7, sequence_length=3, num_envs=3)
    with pytest.raises(ValueError, match="sequence_length"):
        DeviceReplay(SMALL, 7, sequence_length=None)
    replay = DeviceReplay(SMALL, 10, num_envs=2)
    with pytest.raises(ValueError, match=r"num_envs=2, at most 5.*\[3, 1\]"):
        replay.add(replay.init(), make_rows(0, 1, 3))
    with pytest.raises(ValueError, match=r"at most 5.*\[2, 6\]"):
        replay.add(replay.init(), make_rows(0, 6, 2))
    with pytest.raises(SpecError, match="reward"):
        replay.add(replay.init(), make_rows(0, 1, 2)._replace(reward=jnp.zeros((2, 1), jnp.int32)))
    with pytest.raises(ValueError, match="priority_exponent"):
        replay.update_priorities(replay.init(), jnp.zeros(1, jnp.int32), jnp.ones(1))


def test_an_empty_buffer_gives_zeros():
    replay = DeviceReplay(SMALL, 10, priority_exponent=1.0)
    for state in (replay.init(), replay.add(replay.init(), make_rows(7, 1, 1))):
        assert not replay.can_sample(state)
        sample = replay.sample(state, jax.random.key(0), 3)
        assert isinstance(sample.experience, Trajectory)
        assert sample.experience.reward.shape == (3, 2)

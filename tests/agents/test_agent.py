"""The one update: optimizers by role, keys, targets, devices, and what `TrainState` holds."""

import dataclasses
from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import envs, networks
from jax_agents.agents import LossInfo, Shard, TrainState, periodic, polyak
from jax_agents.agents.agent import apply_loss, by_role, example_keys, init_state, weighted_mean
from jax_agents.experiments import PRESETS
from jax_agents.policies import with_version

PARAMS = {
    "actor": {"w": jnp.array([1.0, -2.0])},
    "critic": {"b": jnp.array(0.5), "w": jnp.array([[3.0], [4.0]])},
}
GRADS = {
    "actor": {"w": jnp.array([30.0, 40.0])},
    "critic": {"b": jnp.array(0.6), "w": jnp.array([[0.8], [0.0]])},
}


def separate(optimizers, steps):
    """Each role's parameters after updates by its own optimizer."""
    params = dict(PARAMS)
    for role, optimizer in optimizers.items():
        state = optimizer.init(params[role])
        for _ in range(steps):
            updates, state = optimizer.update(GRADS[role], state, params[role])
            params[role] = optax.apply_updates(params[role], updates)
    return params


def together(optimizer, steps, params=PARAMS):
    transformation = by_role(optimizer, params)
    state = transformation.init(params)
    for _ in range(steps):
        updates, state = transformation.update(
            {role: GRADS[role] for role in params}, state, params
        )
        params = optax.apply_updates(params, updates)
    return params


def test_a_dict_of_optimizers_equals_separate_updates():
    optimizers = {
        "actor": optax.adamw(1e-2),
        "critic": optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.1)),
    }
    chex.assert_trees_all_close(together(optimizers, 3), separate(optimizers, 3), rtol=1e-6)


def test_one_optimizer_is_applied_role_by_role():
    clipped = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1.0))
    result = together(clipped, 1)
    chex.assert_trees_all_close(
        result, separate({"actor": clipped, "critic": clipped}, 1), rtol=1e-6
    )
    # norm 50, of this role alone
    np.testing.assert_allclose(result["actor"]["w"], [1 - 0.6, -2 - 0.8], rtol=1e-6)
    np.testing.assert_allclose(result["critic"]["b"], 0.5 - 0.6, rtol=1e-6)  # norm 1: not clipped


@pytest.mark.parametrize(
    "given", [optax.adam(0.1), {"actor": optax.adam(0.1)}], ids=["one", "dict"]
)
def test_a_single_role_is_the_optimizer_itself(given):
    params = {"actor": PARAMS["actor"]}
    expected = separate({"actor": optax.adam(0.1)}, 3)["actor"]
    chex.assert_trees_all_close(together(given, 3, params), {"actor": expected}, rtol=1e-6)
    # weight decay needs the parameters, which must reach it
    schedule = by_role(optax.adamw(0.1), params)
    updates, _ = schedule.update({"actor": GRADS["actor"]}, schedule.init(params), params)
    assert set(updates) == {"actor"}


@pytest.mark.parametrize("roles", [["actor"], ["actor", "critic", "alpha"], ["actor", "q"]])
def test_a_dict_must_name_each_role(roles):
    with pytest.raises(ValueError, match=r"one for each role \['actor', 'critic'\], got"):
        by_role({role: optax.sgd(0.1) for role in roles}, PARAMS)


def test_init_state_copies_targets_and_starts_at_zero():
    state = init_state(
        PARAMS, optax.adam(0.1), jax.random.key(3), target_params=PARAMS, extra={"alpha": 1.0}
    )
    assert isinstance(state, TrainState)
    assert state.step.dtype == jnp.int32 and int(state.step) == 0
    assert state.extra == {"alpha": 1.0}
    chex.assert_trees_all_equal(state.target_params, PARAMS)
    assert state.target_params["actor"]["w"] is not PARAMS["actor"]["w"]
    assert init_state(PARAMS, optax.adam(0.1), jax.random.key(3)).target_params == {}


def noisy_loss(params, key):
    noise = jax.random.normal(key)
    loss = 0.5 * jnp.sum(params["q"]["w"] ** 2)
    return LossInfo(loss, {"noise": noise}, {"td_error": jnp.zeros(2)})


def test_apply_loss_by_numbers():
    params = {"q": {"w": jnp.array([3.0, 4.0])}}
    start = init_state(params, optax.sgd(0.1), jax.random.key(0), target_params=params)
    train = jax.jit(lambda state: apply_loss(state, noisy_loss, optax.sgd(0.1), polyak(0.5)))
    state, info = train(start)
    np.testing.assert_allclose(state.params["q"]["w"], [2.7, 3.6], rtol=1e-6)
    # half-way to the updated parameters
    np.testing.assert_allclose(state.target_params["q"]["w"], [2.85, 3.8], rtol=1e-6)
    assert int(state.step) == 1
    assert set(info.metrics) == {"loss", "grad_norm", "noise"}
    np.testing.assert_allclose((info.metrics["loss"], info.metrics["grad_norm"]), (12.5, 5.0))
    again, second = train(state)
    assert float(second.metrics["noise"]) != float(info.metrics["noise"])  # a key is used once
    keys = [jax.random.key_data(s.key).tolist() for s in (start, state, again)]
    assert len({tuple(key) for key in keys}) == 3
    kept, _ = apply_loss(start, noisy_loss, optax.sgd(0.1))
    # no target update was given
    chex.assert_trees_all_equal(kept.target_params, start.target_params)


def test_apply_loss_averages_gradients_and_metrics_over_an_axis():
    params = {"q": {"w": jnp.array([1.0])}}
    state = init_state(params, optax.sgd(1.0), jax.random.key(0))

    def train(state, target):
        loss = lambda p, key: LossInfo(
            jnp.sum(p["q"]["w"] * target), {"target": target}, {"own": target[None]}
        )
        return apply_loss(state, loss, optax.sgd(1.0), shards="devices")

    states, info = jax.vmap(train, in_axes=(None, 0), axis_name="devices")(
        state, jnp.array([1.0, 2.0, 6.0])
    )
    np.testing.assert_allclose(states.params["q"]["w"][:, 0], [-2.0, -2.0, -2.0])
    np.testing.assert_allclose(info.metrics["target"], [3.0, 3.0, 3.0])
    np.testing.assert_allclose(info.loss, [3.0, 3.0, 3.0])
    # these stay with their device
    np.testing.assert_allclose(info.per_example["own"][:, 0], [1.0, 2.0, 6.0])


def test_example_keys_do_not_depend_on_how_a_batch_is_split():
    key = jax.random.key(0)
    whole = jax.random.key_data(example_keys(key, 6))
    split = jax.vmap(lambda _: jax.random.key_data(example_keys(key, 3, "d")), axis_name="d")(
        jnp.arange(2)
    )
    np.testing.assert_array_equal(whole, split.reshape(whole.shape))
    assert len({tuple(row) for row in whole.tolist()}) == 6


def test_weighted_mean_divides_by_the_number_of_values():
    values = jnp.array([1.0, 2.0, 6.0])
    assert float(weighted_mean(values)) == 3.0
    assert float(weighted_mean(values, jnp.array([0.0, 0.0, 0.5]))) == 1.0


def test_a_shard_sees_what_is_averaged_and_has_the_last_word():
    state = init_state({"q": jnp.array([2.0])}, optax.sgd(0.5), jax.random.key(0))
    loss_fn = lambda params, key: LossInfo(jnp.sum(3 * params["q"]), {"m": jnp.float32(7)}, {})
    seen = []

    def mean(tree):
        seen.append(tree)
        return jax.tree.map(lambda x: 2 * x, tree)

    state, info = apply_loss(state, loss_fn, optax.sgd(0.5), shards=Shard(mean))
    ((grads, loss, metrics),) = seen
    np.testing.assert_allclose((grads["q"][0], loss, metrics["m"]), (3, 6, 7))
    np.testing.assert_allclose(state.params["q"], [2 - 0.5 * 6])
    np.testing.assert_allclose(
        (info.metrics["loss"], info.metrics["m"], info.metrics["grad_norm"]), (12, 14, 6)
    )


def test_keys_of_a_shards_examples_are_those_of_the_whole_batch():
    key = jax.random.key(3)
    whole = jax.random.key_data(example_keys(key, 5))
    part = jax.random.key_data(example_keys(key, 2, Shard(lambda tree: tree, 3)))
    np.testing.assert_array_equal(part, whole[3:])


@pytest.mark.parametrize(
    "name",
    [name for name in PRESETS if name not in ("A3C", "APEX", "APEX_DDPG", "BC", "ES", "RAINBOW")],
)
def test_rows_may_store_their_version(name):
    """An agent ignores entries of the policy info that it does not know.

    The calls are only traced, since tracing checks the rows.
    """
    specs = (
        envs.classic.Pendulum().specs
        if name in ("SAC", "TD3", "DDPG")
        else envs.classic.CartPole().specs
    )
    agent = PRESETS[name].config.agent(specs)
    shape = (2, agent.train_sequence_length or 6)
    rows = jax.tree.map(
        lambda s: jax.ShapeDtypeStruct((*shape, *s.shape), s.dtype),
        with_version(agent.collect_data_spec),
    )
    state = jax.eval_shape(agent.init, jax.random.key(0))
    if hasattr(agent, "prepare"):
        state, rows = jax.eval_shape(agent.prepare, state, rows)
    assert jax.eval_shape(agent.train, state, rows)[0].step.shape == ()


def test_polyak_and_periodic_targets_by_numbers():
    online, target = {"w": jnp.array(4.0)}, {"w": jnp.array(2.0)}
    assert float(polyak(0.25)(online, target, 1)["w"]) == 2.5
    kept = [float(periodic(3)(online, target, jnp.int32(step))["w"]) for step in (1, 2, 3, 4, 6)]
    assert kept == [2.0, 2.0, 4.0, 2.0, 4.0]


# -- what an optimizer is given

ALIASES = ("A3C", "APEX", "APEX_DDPG", "APPO", "RAINBOW")
DAILY = {("DQN", "one"), ("SAC", "by role"), ("PPO", "by role"), ("ES", "one"), ("BC", "one")}
TINY = {
    "hidden": (3,), "head_hidden": (3,), "lstm_size": 3, "core_size": 3, "num_atoms": 3,
    "sequence_length": 2, "burn_in": 0, "population_size": 4,
}  # fmt: skip


def tiny_agent(name, optimizer=None):
    config = PRESETS[name].config
    tiny = {key: x for key, x in TINY.items() if getattr(config, key, None)}
    env = envs.classic.Pendulum() if name in ("SAC", "TD3", "DDPG") else envs.classic.CartPole()
    agent = dataclasses.replace(config, **tiny).agent(env.specs)
    return agent if optimizer is None else dataclasses.replace(agent, optimizer=optimizer)


def train_once(agent, state):
    """One update, on rows that meet the spec."""
    if hasattr(agent, "tell"):
        return agent.tell(state, jnp.arange(4.0), *_statistics(agent))
    shape = (2, agent.train_sequence_length or 4)
    rows = jax.tree.map(lambda s: jnp.ones((*shape, *s.shape), s.dtype), agent.collect_data_spec)
    if not hasattr(agent, "prepare"):
        return agent.train(state, rows)
    return agent.train(*agent.prepare(state, rows))


def _statistics(agent):
    if not agent.normalize_observations:
        return ()
    one = networks.init_statistics(agent.specs.observation)
    return (jax.tree.map(lambda x: x[None], one),)


class Recorded(NamedTuple):
    value: jax.Array


def record_value():
    """A transformation that needs `value`, and keeps what it was given."""

    def update(updates, state, params=None, *, value, **extra_args):
        del state, params, extra_args
        return updates, Recorded(value)

    return optax.GradientTransformationExtraArgs(
        lambda params: Recorded(jnp.full((), -7.0)), update
    )


VALUED = [
    pytest.param(name, kind, marks=() if (name, kind) in DAILY else pytest.mark.nightly)
    for name in PRESETS
    if name not in ALIASES
    for kind in ("one", "by role")
]


@pytest.mark.parametrize("name, kind", VALUED)
def test_every_agent_hands_the_loss_to_optimizers_that_need_it(name, kind):
    """Plain ones, which do not take it, work beside them, as they do in every other test."""
    make = lambda: optax.chain(
        optax.adam(1e-3), optax.contrib.reduce_on_plateau(), record_value(), optax.scale(0.5)
    )
    roles = jax.eval_shape(tiny_agent(name).init, jax.random.key(0)).params
    agent = tiny_agent(name, make() if kind == "one" else {role: make() for role in roles})
    state = first = agent.init(jax.random.key(0))
    train = jax.jit(partial(train_once, agent))
    for _ in range(getattr(agent, "actor_delay", 1)):  # the last is of all roles
        state, info = train(state)
    # Of the same types before and after, so that it can be scanned.
    types = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
    assert types(state) == types(first)
    recorded = [
        float(leaf.value)
        for leaf in jax.tree.leaves(state.opt_state, is_leaf=lambda x: isinstance(x, Recorded))
        if isinstance(leaf, Recorded)
    ]
    np.testing.assert_array_equal(recorded, [float(info.metrics["loss"])] * len(roles))


def test_the_learning_rate_falls_where_the_loss_stays():
    plateau = optax.contrib.reduce_on_plateau(factor=0.5, patience=1)
    params = {"q": {"w": jnp.array([1.0])}, "actor": {"w": jnp.array([1.0])}}
    state = init_state(params, optax.chain(optax.sgd(1.0), plateau), jax.random.key(0))
    loss = lambda p, key: LossInfo(p["q"]["w"].sum() - p["q"]["w"].sum() + 1.0, {}, {})
    for _ in range(4):
        state, _ = apply_loss(state, loss, optax.chain(optax.sgd(1.0), plateau))
    scales = [
        float(leaf)
        for path, leaf in jax.tree_util.tree_flatten_with_path(state.opt_state)[0]
        if "scale" in jax.tree_util.keystr(path)
    ]
    assert len(scales) == 2 and max(scales) < 1.0

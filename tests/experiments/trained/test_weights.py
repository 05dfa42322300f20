"""Weights out and in: copies, files, and errors that name what differs."""

import dataclasses

import jax
import numpy as np
import optax
import pytest
from flax import serialization

from jax_agents import agents, learners, networks
from jax_agents.envs import classic
from jax_agents.envs.time_step import restart
from jax_agents.experiments import PRESETS
from jax_agents.experiments.trained.weights import (
    WeightsError,
    export_weights,
    get_weights,
    import_weights,
    read_weights,
    set_weights,
)


@pytest.fixture(scope="module")
def states():
    """Two states of the same agent."""
    agent = agents.DqnAgent(
        classic.CartPole().specs, networks.QNetwork(2, hidden=(3,)), optax.adam(1e-3)
    )
    return agent.init(jax.random.key(0)), agent.init(jax.random.key(1))


def equal(one, two):
    jax.tree.map(np.testing.assert_array_equal, one, two)


def test_weights_are_numpy_copies(states):
    weights = get_weights(states[0])
    assert list(weights) == ["q"] and isinstance(
        weights["q"]["params"]["Dense_0"]["bias"], np.ndarray
    )
    weights["q"]["params"]["Dense_0"]["bias"][:] = 7.0
    assert not (np.asarray(states[0].params["q"]["params"]["Dense_0"]["bias"]) == 7).any()


def test_set_replaces_parameters_and_targets_alone(states):
    one, two = states
    changed = set_weights(one, get_weights(two))
    equal(changed.params, two.params)
    equal(changed.target_params, two.params)
    equal(changed.opt_state, one.opt_state)
    assert changed.key == one.key and changed.step == one.step
    target, param = (
        changed.target_params["q"]["params"]["Dense_0"]["bias"],
        changed.params["q"]["params"]["Dense_0"]["bias"],
    )
    # so that the state can be donated
    assert target.unsafe_buffer_pointer() != param.unsafe_buffer_pointer()


@pytest.mark.parametrize("kind", ["tree", "flat", "npz", "msgpack"])
def test_weights_from_outside(states, kind, tmp_path):
    one, two = states
    source = get_weights(two)
    if kind == "flat":
        source = dict(np.load(export_weights(two, tmp_path / "weights.npz")))
    elif kind == "npz":
        source = export_weights(two, tmp_path / "weights.npz")
    elif kind == "msgpack":
        source = tmp_path / "weights.msgpack"
        source.write_bytes(serialization.msgpack_serialize(get_weights(two)))
    equal(import_weights(one, source).params, two.params)


def test_every_leaf_that_differs_is_named_with_the_nearest(states):
    weights = get_weights(states[0])
    layers = weights["q"]["params"]
    layers["MLP_0"]["Dense_0"]["kernel"] = np.zeros((4, 5), np.float32)
    layers["Dense_0"]["biass"] = layers["Dense_0"].pop("bias")
    layers["Dense_0"]["kernel"] = np.full((3, 2), np.nan)
    with pytest.raises(WeightsError) as caught:
        set_weights(states[0], weights)
    told = str(caught.value).splitlines()
    assert told[0] == "weights: 4 of 4 leaves do not fit:"
    assert told[1:] == [
        "q/params/Dense_0/bias: expected float32[2], got nothing; the nearest is "
        "q/params/Dense_0/biass",
        "q/params/Dense_0/kernel: expected float32[3, 2], got what are not all finite numbers, "
        "float64",
        "q/params/MLP_0/Dense_0/kernel: expected float32[4, 3], got float32[4, 5]",
        "q/params/Dense_0/biass: not expected; the nearest is q/params/Dense_0/bias",
    ]


def test_other_dtypes_are_cast(states):
    weights = jax.tree.map(lambda x: x.astype(np.float64), get_weights(states[1]))
    assert {leaf.dtype for leaf in jax.tree.leaves(set_weights(states[0], weights).params)} == {
        np.dtype(np.float32)
    }


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("weights.h5", b"", "expected a .npz or .msgpack file"),
        ("weights.npz", b"no archive", "cannot be read"),
        ("weights.msgpack", b"\xc1", "cannot be read"),
    ],
)
def test_files_that_cannot_be_read(states, tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=told):
        import_weights(states[0], tmp_path / name)
    with pytest.raises(FileNotFoundError):
        import_weights(states[0], tmp_path / "none.npz")


def test_nothing_is_unpickled(states, tmp_path):
    np.savez(tmp_path / "evil.npz", x=np.array([object()], dtype=object))
    with pytest.raises(WeightsError, match="pickle"):
        read_weights(tmp_path / "evil.npz")
    with pytest.raises(ValueError, match=r"ends in \.npz"):
        export_weights(states[0], tmp_path / "weights.h5")


# -- normalisers

NORMALISING = [
    name
    for name, preset in PRESETS.items()
    if hasattr(preset.config, "normalize_observations") and name not in ("A3C", "APPO")
]


def normalising(name):
    """A preset's agent with all the normalisers that it has, and a state that has seen rows."""
    config = PRESETS[name].config
    small = {"hidden": (4,), "lstm_size": 4, "normalize_observations": True}
    small |= {"normalize_rewards": True, "population_size": 4}
    known = {key: x for key, x in small.items() if getattr(config, key, None) is not None}
    agent = dataclasses.replace(config, **known).agent(classic.CartPole().specs)
    state = agent.init(jax.random.key(1))
    statistics = {
        kind: jax.tree.map(lambda x: x * 0 + 3 + np.arange(x.size).reshape(x.shape), one)
        for kind, one in state.extra.items()
        if kind.endswith("_statistics")
    }
    return agent, dataclasses.replace(state, extra={**state.extra, **statistics})


def by_tree(agent, old, new, folder):
    return set_weights(new, get_weights(old))


def by_file(agent, old, new, folder):
    return import_weights(new, export_weights(old, folder / "weights.npz"))


def by_msgpack(agent, old, new, folder):
    path = folder / "weights.msgpack"
    path.write_bytes(serialization.msgpack_serialize(get_weights(old)))
    return import_weights(new, path)


def by_learner(agent, old, new, folder):
    one, two = (learners.StatefulLearner(agent, key=jax.random.key(0)) for _ in range(2))
    one.state, two.state = old, new
    two.set_weights(one.get_weights())
    equal(one.policy_params()["params"], two.policy_params()["params"])
    return two.state


def by_group(agent, old, new, folder):
    make = lambda: learners.StatefulLearner(agent, key=jax.random.key(0))
    with learners.LearnerGroup(make, num_learners=0) as one:
        one.set_weights(by_tree(agent, old, new, folder).params)
        statistics = {name: x for name, x in get_weights(old).items() if "statistics" in name}
        one.set_weights(statistics)  # some of them alone
        return set_weights(new, one.get_weights())


WAYS = [by_tree, by_file, by_msgpack, by_learner, by_group]


@pytest.mark.parametrize(
    ("name", "way"),
    # No learner is for an evolution strategy.
    [(n, way) for n in NORMALISING for way in WAYS if n != "ES" or way in WAYS[:3]],
)
def test_the_greedy_policy_acts_after_an_import_as_before(name, way, tmp_path):
    agent, old = normalising(name)
    new = way(agent, old, agent.init(jax.random.key(2)), tmp_path)
    observation = jax.random.normal(jax.random.key(3), (50, 4)) * 3
    step = restart(observation, batch_shape=(50,))

    def outputs(state):
        params = agent.policy_params(state)
        memory = agent.policy.initial_state((50,))
        logits = agent.policy.distribution(params, step, memory).action
        distribution = agent.collect_policy.distribution(params, step, memory_of(50)).action
        return logits.mode(), distribution

    memory_of = lambda n: agent.collect_policy.initial_state((n,))
    equal(outputs(new), outputs(old))
    assert not np.array_equal(
        jax.tree.leaves(outputs(agent.init(jax.random.key(2)))[1])[0],
        jax.tree.leaves(outputs(old)[1])[0],
    )
    assert {k: x.variance.shape for k, x in new.extra.items() if "statistics" in k} == {
        k: x.variance.shape for k, x in old.extra.items() if "statistics" in k
    }
    equal(
        {k: x for k, x in new.extra.items() if "statistics" in k},
        {k: x for k, x in old.extra.items() if "statistics" in k},
    )
    assert "return_statistics" not in old.extra or "return_statistics" in get_weights(new)


@pytest.mark.parametrize("name", NORMALISING)
def test_weights_without_the_statistics_are_refused_and_those_with_superfluous_ones_too(name):
    agent, state = normalising(name)
    plain = dataclasses.replace(
        agent,
        normalize_observations=False,
        **({"normalize_rewards": False} if hasattr(agent, "normalize_rewards") else {}),
    )
    with pytest.raises(WeightsError, match=r"observation_statistics/count: expected.*got nothing"):
        set_weights(state, get_weights(plain.init(jax.random.key(0))))
    with pytest.raises(WeightsError, match=r"have no observation_statistics.*: export them again"):
        set_weights(state, get_weights(plain.init(jax.random.key(0))))
    with pytest.raises(WeightsError, match="of an agent that normalises"):
        set_weights(plain.init(jax.random.key(0)), get_weights(state))
    kept = set_weights(state, get_weights(state) | get_weights(plain.init(jax.random.key(0))))
    equal(kept.extra["observation_statistics"], state.extra["observation_statistics"])

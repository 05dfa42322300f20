"""DqnAgent by what each of its options changes, by what it refuses, and by what it learns."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import agents, envs, learners, networks
from jax_agents.agents import losses
from jax_agents.envs.specs import ArraySpec, BoundedSpec, DiscreteSpec, EnvironmentSpecs, SpecError
from jax_agents.envs.types import Sample, SampleInfo, StepType, TimeStep

MASKED = EnvironmentSpecs(
    {"observation": ArraySpec((2,)), "action_mask": ArraySpec((2,), np.bool_)}, DiscreteSpec(2)
)


def test_the_target_network_follows_the_updated_parameters(data, make_dqn):
    mix = lambda old, new: jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, old, new)
    for update, expected in (
        (agents.polyak(0.1), lambda p: [mix(p[0], p[1]), mix(mix(p[0], p[1]), p[2])]),
        (agents.periodic(2), lambda p: [p[0], p[2]]),
    ):
        agent = make_dqn(target_update=update)
        state = agent.init(jax.random.key(0))
        params, targets = [state.params], []
        train = jax.jit(agent.train)
        for _ in range(2):
            state, _ = train(state, data)
            params, targets = [*params, state.params], [*targets, state.target_params]
        chex.assert_trees_all_close(targets, expected(params), rtol=1e-6)


@pytest.mark.parametrize("jit_init", [False, True])
def test_the_state_can_be_donated_again_and_again(jit_init, data, make_dqn):
    agent = make_dqn(optimizer=optax.adam(1e-2))
    init = jax.jit(agent.init) if jit_init else agent.init
    state = init(jax.random.key(0))
    online, targets = jax.tree.leaves(state.params), jax.tree.leaves(state.target_params)
    assert not {x.unsafe_buffer_pointer() for x in online} & {
        x.unsafe_buffer_pointer() for x in targets
    }
    chex.clear_trace_counter()
    train = jax.jit(chex.assert_max_traces(agent.train, n=1), donate_argnums=0)
    first = None
    for _ in range(4):
        state, info = train(state, data)
        first = info.loss if first is None else first
    assert int(state.step) == 4
    assert float(info.loss) < float(first)


ALTERED = {
    "specs": MASKED,
    "network": networks.QNetwork(2, (8,)),
    "optimizer": optax.adam(0.1),
    "gamma": 0.5,
    "n_step": 2,
    "double": True,
    "epsilon": 0.9,
    "td_loss": losses.squared,
    "target_update": agents.polyak(0.5),
}


def test_every_field_of_the_configuration_changes_something(
    frames, make_rows, make_dqn, with_targets
):
    assert set(ALTERED) == {field.name for field in dataclasses.fields(agents.DqnAgent)}

    def outcome(agent):
        """What an agent does and becomes, from fixed data and keys."""
        rows = make_rows(frames[:, : agent.train_sequence_length])
        mask = np.broadcast_to(np.array([False, True]), (2, agent.train_sequence_length, 2))
        if isinstance(agent.specs.observation, dict):
            rows = rows._replace(observation={"observation": rows.observation, "action_mask": mask})
        state = agent.init(jax.random.key(0))
        if agent.network is not ALTERED["network"]:
            state = with_targets(state, [[0, 0], [1, 2]])
        new, info = agent.train(state, rows)
        observation = jax.tree.map(
            lambda x: jnp.tile(x[:, 0], (50, *[1] * (x.ndim - 2))), rows.observation
        )
        step = TimeStep(jnp.full(100, StepType.MID), jnp.zeros(100), jnp.ones(100), observation)
        action = agent.collect_policy.action(
            agent.policy_params(state), step, (), jax.random.key(3)
        ).action
        return [
            np.ravel(x) for x in jax.tree.leaves((info.loss, new.params, new.target_params, action))
        ]

    base = outcome(make_dqn())
    for name, value in ALTERED.items():
        changed = outcome(dataclasses.replace(make_dqn(), **{name: value}))
        same = len(base) == len(changed) and all(
            np.array_equal(a, b) for a, b in zip(base, changed, strict=True)
        )
        assert not same, f"{name} changes nothing"


def test_the_collect_policys_epsilon_follows_its_schedule_of_updates(make_dqn):
    agent = make_dqn(epsilon=optax.linear_schedule(1.0, 0.0, 10))
    state = agent.init(jax.random.key(0))
    time_step = TimeStep(StepType.MID, 0.0, 1.0, jnp.array([1.0, 2.0]))
    for step, epsilon in ((0, 1.0), (5, 0.5), (10, 0.0), (99, 0.0)):
        params = agent.policy_params(state.replace(step=jnp.int32(step)))
        probs = agent.collect_policy.distribution(params, time_step).action.probs
        np.testing.assert_allclose(probs, [1 - epsilon / 2, epsilon / 2], atol=1e-6)


def test_batches_of_dict_observations_and_images(make_rows):
    specs = EnvironmentSpecs(
        {
            "camera": BoundedSpec((36, 36, 2), np.uint8, 0, 255),
            "speed": ArraySpec((2,)),
            "gear": DiscreteSpec(5),
        },
        DiscreteSpec(3),
    )
    network = networks.QNetwork(3, (8,), encoder=networks.default_encoder(specs.observation))
    agent = agents.DqnAgent(specs, network, optax.adam(1e-2), double=True)
    observation = envs.sample(specs.observation, jax.random.key(0), (4, 2))
    rows = make_rows(np.zeros((4, 2, 2), np.float32))._replace(observation=observation)
    state = agent.init(jax.random.key(0))
    train = jax.jit(agent.train)
    after, info = train(state, rows)
    assert info.per_example["td_error"].shape == (4,)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), state.params, after.params)["q"][
        "params"
    ]
    # the convolutions learn too
    assert all(any(jax.tree.leaves(branch)) for branch in moved.values())
    for _ in range(30):
        after, last = train(after, rows)
    assert float(last.loss) < float(info.loss)


def refuses(match, call, error=ValueError):
    with pytest.raises(error, match=match):
        call()


def test_a_whole_sample_is_to_be_unpacked(data, make_dqn):
    agent = make_dqn()
    state, info = agent.init(jax.random.key(0)), SampleInfo(*np.zeros((5, 1)))
    with pytest.raises(
        TypeError, match=r"got Sample; unpack it: experience, info = next\(dataset\)"
    ):
        agent.train(state, Sample(data, info))
    with pytest.raises(
        TypeError, match=r"expected a Trajectory of rows \[B, T, ...\], got NoneType$"
    ):
        agent.train(state, None)


def test_clear_errors(frames, make_rows, data, make_dqn):
    continuous = EnvironmentSpecs(ArraySpec((2,)), BoundedSpec((1,), np.float32, -1, 1))
    refuses("one discrete action.*got float32.*SAC", lambda: make_dqn(continuous))
    refuses(
        "one discrete action",
        lambda: make_dqn(EnvironmentSpecs(ArraySpec((2,)), DiscreteSpec((2, 3)))),
    )
    refuses("n_step >= 1, got 0", lambda: make_dqn(n_step=0))
    refuses("gamma in 0..1, got 99", lambda: make_dqn(gamma=99))
    refuses(
        r"expected values \[2, 3, 2\].*got \[2, 3, 4\]; there are 2 actions, and QNetwork\(2\)",
        lambda: make_dqn(network=networks.QNetwork(4)),
    )
    image = EnvironmentSpecs(BoundedSpec((48, 48, 3), np.uint8, 0, 255), DiscreteSpec(2))
    refuses("default_encoder", lambda: make_dqn(image, networks.QNetwork(2)))
    leaves = EnvironmentSpecs({"a": ArraySpec((2,)), "b": ArraySpec((2,))}, DiscreteSpec(2))
    refuses(
        "network: cannot take observations.*default_encoder",
        lambda: make_dqn(leaves, networks.QNetwork(2)),
    )
    refuses("tau in 0..1, got 5", lambda: agents.polyak(5))
    refuses("at least 1 update, got 0", lambda: agents.periodic(0))
    agent = make_dqn()
    state = agent.init(jax.random.key(0))
    refuses(r"T=2\], got \[2, 3\].*sequence_length", lambda: agent.train(state, make_rows(frames)))
    refuses(r"got \[2\]", lambda: agent.train(state, jax.tree.map(lambda x: x[:, 0], data)))
    refuses(
        r"weights: .*shape \[2\], got \[2, 1\]",
        lambda: agent.train(state, data, np.ones((2, 1), np.float32)),
    )
    wrong = data._replace(observation=np.zeros((2, 2, 3), np.float32))
    refuses(
        r"observation: expected .*float32\[2\], got float32\[2,2,3\]",
        lambda: agent.train(state, wrong),
        SpecError,
    )
    wrong = data._replace(action=data.action.astype(np.float32))
    refuses(
        "action: expected .*int32.*got float32",
        lambda: jax.jit(agent.train)(state, wrong),
        SpecError,
    )
    refuses(
        "expected one for each role",
        lambda: make_dqn(optimizer={"critic": optax.sgd(0.1)}).init(jax.random.key(0)),
    )


def test_a_time_limit_is_bootstrapped_through():
    """One state, reward 1, cut off after 5 steps: the value is 1 / (1 - 0.8) = 5, not 1 + ... +
    0.8^4 = 3.36.
    """
    env = envs.probes.OneState()
    agent = agents.DqnAgent(
        env.specs,
        networks.QNetwork(2, (8,)),
        optax.adam(0.03),
        gamma=0.8,
        target_update=agents.periodic(5),
        epsilon=0.5,
    )
    loop = learners.OffPolicyScan(
        agent, env, num_envs=4, batch_size=32, capacity=400, warmup_rows=20
    )
    run = jax.jit(lambda key: loop.train(key, num_iterations=400)[0].train)
    value = agent.value(agent.policy_params(run(jax.random.key(0))), jnp.zeros(1))
    np.testing.assert_allclose(value, 5.0, atol=0.1)

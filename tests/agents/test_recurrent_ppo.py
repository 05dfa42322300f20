"""PPO with memory, and what holds of every on-policy agent with it: carries, resets, boundaries,
and tasks that need memory.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents.agents import A2cAgent, ImpalaAgent, PpoAgent, ReinforceAgent
from jax_agents.drivers.rollout import start_rollout
from jax_agents.envs import HostEnvironment, probes, select_observation
from jax_agents.envs.classic import CartPole
from jax_agents.envs.specs import ArraySpec, BoundedSpec, DiscreteSpec, EnvironmentSpecs, sample
from jax_agents.evaluation import evaluate_on_device
from jax_agents.learners import OnPolicyLoop, OnPolicyScan
from jax_agents.networks import (
    GRU,
    LSTM,
    ActorNetwork,
    ActorValueNetwork,
    RecurrentActorValueNetwork,
    ValueNetwork,
)
from jax_agents.networks.distributions import Normal

SPECS = EnvironmentSpecs(BoundedSpec((3,), np.float32, -1, 1), DiscreteSpec(3))
KINDS = (PpoAgent, A2cAgent, ReinforceAgent, ImpalaAgent)
B, T = 4, 8
LOOP = {"num_envs": 4, "num_rows": 8, "num_epochs": 2, "num_minibatches": 2}


def recurrent_network(spec, size=5, **options):
    actor = ActorNetwork(spec, hidden=(), output_kernel_init=jax.nn.initializers.orthogonal(1.0))
    return RecurrentActorValueNetwork(
        actor, ValueNetwork(hidden=()), **({"core": GRU(size)} | options)
    )


def build(kind=PpoAgent, specs=SPECS, **options):
    return kind(
        specs,
        recurrent_network(specs.action, core=LSTM(5), value_core=GRU(4)),
        optax.sgd(0.1),
        **options,
    )


def rows(agent, seed=0):
    """Rows `[B, T + 1]`: after row 2 an episode is cut off in stream 0 and terminates in stream 1;
    row 3 is the boundary.
    """
    random = sample(agent.collect_data_spec, jax.random.key(seed), (B, T + 1))
    step_type, discount = np.ones((B, T + 1), np.int32), np.ones((B, T + 1), np.float32)
    step_type[:2, 3], step_type[:2, 4], discount[1, 2] = 2, 0, 0.0
    next_step_type = np.concatenate([step_type[:, 1:], np.ones((B, 1), np.int32)], axis=1)
    info = random.policy_info | {"log_prob": -1 - 0.1 * random.policy_info["log_prob"] ** 2}
    return random._replace(
        step_type=step_type, next_step_type=next_step_type, discount=discount, policy_info=info
    )


@functools.partial(jax.jit, static_argnums=(0, 3))
def update(agent, state, experience, shards=None):
    return agent.train(*agent.prepare(state, experience, shards=shards), shards=shards)


@functools.cache
def prepared():
    """An agent, its state, a batch, and the loss and its gradient as a compiled function of
    parameters and examples.
    """
    agent = PpoAgent(SPECS, recurrent_network(SPECS.action), optax.sgd(0.1), advantages="none")
    state, batch = jax.jit(agent.prepare)(agent.init(jax.random.key(0)), rows(agent))
    loss = lambda params, examples: agent.loss(params, state, examples, jax.random.key(0)).loss
    return agent, state, batch, jax.jit(jax.value_and_grad(loss))


def close(a, b, rtol=1e-5, atol=1e-6):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol)


class Sum:
    """Remembers the sum s of observations since the episode's start: V = w s with w = 1, and
    actions are Normal(s, 1).
    """

    def initial_carry(self, batch_shape=()):
        return jnp.zeros(batch_shape)

    def init(self, key, observations, resets, carry):
        return {"w": jnp.ones(())}

    def apply(self, variables, observations, resets, carry):
        def one(carry, x):
            carry = jnp.where(x[1], 0.0, carry) + x[0][..., 0]
            return carry, carry

        carry, sums = jax.lax.scan(
            one, carry, (jnp.moveaxis(observations, -2, 0), jnp.moveaxis(resets, -1, 0))
        )
        sums = jnp.moveaxis(sums, 0, -1)
        return (
            Normal(sums[..., None], jnp.ones_like(sums)[..., None]),
            variables["w"] * sums,
        ), carry


def test_a_sequence_by_hand():
    """Observations 1, 2, 3 | 4, 5 (and 6) after a carry of 10, cut off before the boundary row 2:
    sums 11, 13, 16 | 4, 9 (15).

    With gamma and lambda 0.5: A_1 = 1 + 0.5 x 16 - 13 = -4 bootstraps from the final observation,
    in the memory of the episode that it ends; A_0 = 1 + 0.5 x 13 - 11 + 0.25 A_1 = -4.5; A_4 = 1 +
    0.5 x 15 - 9 = -0.5; A_3 = 1 + 0.5 x 9 - 4 + 0.25 A_4 = 1.375. Values miss their targets by -A.
    The gradient by w is 2/5 (4.5 x 11 + 4 x 13 - 1.375 x 4 + 0.5 x 9) = 40.2.
    """
    specs = EnvironmentSpecs(ArraySpec((1,)), ArraySpec((1,)))
    agent = PpoAgent(
        specs,
        Sum(),
        optax.sgd(1.0),
        gamma=0.5,
        lambda_=0.5,
        value_coefficient=1.0,
        advantages="none",
        clip_ratio=None,
    )
    row = sample(agent.collect_data_spec, jax.random.key(0), (1, 6))
    sums = np.array([[11.0, 13.0, 16.0, 4.0, 9.0, 15.0]], np.float32)
    experience = row._replace(
        step_type=np.array([[1, 1, 2, 0, 1, 1]], np.int32),
        next_step_type=np.array([[1, 2, 0, 1, 1, 1]], np.int32),
        observation=np.arange(1.0, 7.0, dtype=np.float32).reshape(1, 6, 1),
        action=sums[..., None],
        reward=np.array([[1, 1, 0, 1, 1, 0]], np.float32),
        discount=np.ones((1, 6), np.float32),
        policy_info={
            "log_prob": np.full((1, 6), -0.5 * np.log(2 * np.pi), np.float32),
            "carry": np.full((1, 6), 10, np.float32),
        },
    )
    state, batch = agent.prepare(agent.init(jax.random.key(0)), experience)
    np.testing.assert_allclose(batch.value, sums[:, :5], rtol=1e-6)
    np.testing.assert_allclose(
        batch.advantage[0, [0, 1, 3, 4]], [-4.5, -4.0, 1.375, -0.5], rtol=1e-6
    )
    np.testing.assert_array_equal(batch.weight, [[1, 1, 0, 1, 1]])
    state, info = agent.train(state, batch)
    assert info.metrics["policy_loss"] == pytest.approx(7.625 / 4, rel=1e-5)  # over four steps
    assert info.metrics["value_loss"] == pytest.approx(38.390625 / 4, rel=1e-5)
    assert state.params["actor_value"]["w"] == pytest.approx(1 - 40.2, rel=1e-5)
    _, doubled = agent.train(state, batch, jnp.array([2.0]))
    assert doubled.metrics["policy_loss"] == pytest.approx(7.625 / 4, rel=1e-5)


def test_a_reset_inside_a_sequence_makes_two_sequences():
    """8 rows with an episode's start at row 4 have the loss and the gradient of twice 4 rows."""
    agent, state, batch, loss_and_grads = prepared()
    one = jax.tree.map(lambda x: x[:1], batch)  # stream 0
    assert one.memory[0].tolist() == [[False] * 4 + [True] + [False] * 3]
    two = jax.tree.map(lambda x: x.reshape(2, 4, *x.shape[2:]), one._replace(memory=()))
    starts = jax.tree.map(
        lambda x, y: jnp.concatenate([x, y]), one.memory[1], agent.network.initial_carry((1,))
    )
    loss, grads = loss_and_grads(state.params, one)
    expected, expected_grads = loss_and_grads(
        state.params, two._replace(memory=(jnp.zeros((2, 4), bool), starts))
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    close(grads, expected_grads)


@pytest.mark.parametrize("kind", KINDS)
def test_boundary_rows_have_no_gradient(kind):
    agent = build(kind)
    state, clean = agent.init(jax.random.key(0)), rows(agent)
    spoilt = jax.tree.map(np.array, clean)
    spoilt.action[:2, 3] = (spoilt.action[:2, 3] + 1) % 3
    spoilt.reward[:2, 3], spoilt.discount[:2, 3], spoilt.policy_info["log_prob"][:2, 3] = (
        1e3,
        0.3,
        -7.0,
    )
    spoilt.action[:, T], spoilt.reward[:, T] = 0, -1e3  # of row T only the observation counts
    for leaf in jax.tree.leaves(spoilt.policy_info["carry"]):
        leaf[:, 1:] = 9.0  # and of carries only the first
    close(update(agent, state, clean)[0].params, update(agent, state, spoilt)[0].params)
    jax.tree.leaves(spoilt.policy_info["carry"])[0][2, 0] = 9.0
    with pytest.raises(AssertionError):
        close(update(agent, state, clean)[0].params, update(agent, state, spoilt)[0].params)


def test_what_a_boundary_row_shows_moves_no_parameter_but_through_the_targets():
    agent, state, batch, _ = prepared()
    loss = lambda observation: (
        agent.loss(
            state.params, state, batch._replace(observation=observation), jax.random.key(0)
        ).loss
    )
    grads = jax.jit(jax.grad(loss))(batch.observation)
    assert not grads[:2, 3].any()  # exactly: the next row resets what it put into memory
    assert grads[2:, 3].any() and grads[:2, 2].any() and grads[:2, 4].any()


@pytest.mark.parametrize("kind", [PpoAgent, A2cAgent, ReinforceAgent])
def test_targets_bootstrap_from_the_final_observation_and_from_row_t(kind):
    agent = build(kind, gamma=0.9)
    state, experience = agent.init(jax.random.key(0)), rows(agent)
    values = jax.jit(agent.apply)(state.params, experience.observation, agent.memory(experience))[1]
    target = jax.jit(agent.prepare)(state, experience)[1].target
    # cut off
    np.testing.assert_allclose(
        target[0, 2], experience.reward[0, 2] + 0.9 * values[0, 3], rtol=1e-5
    )
    np.testing.assert_allclose(target[1, 2], experience.reward[1, 2], rtol=1e-5)  # terminated
    np.testing.assert_allclose(
        target[:, T - 1], experience.reward[:, T - 1] + 0.9 * values[:, T], rtol=1e-5
    )


def positions_loop(learning_rate):
    env = select_observation(CartPole(max_episode_steps=9), (0, 2))
    network = recurrent_network(env.specs.action, core=LSTM(4))
    agent = PpoAgent(
        env.specs,
        network,
        optax.sgd(learning_rate),
        normalize_observations=True,
        normalize_rewards=True,
    )
    return OnPolicyScan(agent, env, **LOOP)


def test_learning_unrolls_what_acting_did():
    """In segments from within episodes, actions' probabilities are those that acting stored."""
    loop = positions_loop(0.0)
    run = jax.jit(loop.run, static_argnums=1)
    state, metrics = run(jax.jit(loop.init)(jax.random.key(0)), 3)
    statistics = state.train.extra["observation_statistics"]
    carry = state.rollout.policy_state[0]
    # segment 2 goes on from memory
    assert all(jnp.abs(x).max() > 0 for x in jax.tree.leaves(carry))
    # Statistics that no batch can move: then nothing but the carry can make learning differ from
    # acting.
    steady = state.train.extra | {
        "observation_statistics": statistics.replace(count=jnp.float32(1e12))
    }
    state, metrics = run(state.replace(train=state.train.replace(extra=steady)), 3)
    assert (
        metrics["episodes"] > 0 and abs(metrics["kl"][0]) < 1e-6 and metrics["clip_fraction"] == 0
    )


def test_the_python_loop_computes_what_the_scan_does():
    scan, key = positions_loop(0.1), jax.random.key(3)
    options = {name: value for name, value in LOOP.items() if name != "num_envs"}
    loop = OnPolicyLoop(scan.agent, HostEnvironment(scan.env, 4), **options, key=key, seed=5)
    loop.run(2)
    rollout = start_rollout(
        scan.env, scan.agent.collect_policy, jax.random.key(5), jax.random.split(key, 4)[2], 4
    )
    state, _ = jax.jit(scan.run, static_argnums=1)(scan.init(key).replace(rollout=rollout), 2)
    close(loop.state.params, state.train.params, rtol=1e-4, atol=1e-5)
    assert loop.state.step == state.train.step == 2 * 2 * 2


def test_minibatches_are_whole_sequences():
    loop = dataclasses.replace(positions_loop(0.1), num_minibatches=3)
    with pytest.raises(
        ValueError, match="num_minibatches=3 does not divide the batch of 4 examples"
    ):
        jax.eval_shape(lambda key: loop.run(loop.init(key), 1), jax.random.key(0))
    _, state, batch, loss_and_grads = prepared()
    parts = [
        jax.tree.map(lambda x, chosen=chosen: x[np.array(chosen)], batch)
        for chosen in ([2, 0], [1, 3])
    ]
    first, second = (loss_and_grads(state.params, part)[1] for part in parts)
    close(
        loss_and_grads(state.params, batch)[1],
        jax.tree.map(lambda x, y: (x + y) / 2, first, second),
    )


def test_two_devices_equal_one():
    agent = build(normalize_observations=True, normalize_rewards=True)
    state, experience = agent.init(jax.random.key(0)), rows(agent)
    one, info = update(agent, state, experience)
    halves = jax.tree.map(lambda x: x.reshape(2, B // 2, *x.shape[1:]), experience)
    two, parts = jax.jit(jax.vmap(lambda part: update(agent, state, part, "d"), axis_name="d"))(
        halves
    )
    close(jax.tree.map(lambda x: x[0], two.params), one.params, rtol=1e-4)
    np.testing.assert_allclose(parts.loss, info.loss, rtol=1e-4)


def test_values_are_those_of_an_episodes_first_step():
    agent = build(normalize_observations=True)
    params = agent.policy_params(agent.init(jax.random.key(0)))
    observation = jax.random.normal(jax.random.key(1), (2, 5, 3))
    start = agent.network.initial_carry((2, 5))
    outputs, _ = agent.network.apply(
        params["params"]["actor_value"], observation[:, :, None], jnp.ones((2, 5, 1), bool), start
    )
    np.testing.assert_allclose(agent.value(params, observation), outputs[1][..., 0], rtol=1e-6)


def test_masks_of_actions_hold_in_acting_and_learning():
    env = probes.MaskedActions()
    agent = PpoAgent(
        env.specs, recurrent_network(env.specs.action), optax.adam(1e-2), entropy_coefficient=0.01
    )
    loop = OnPolicyScan(agent, env, num_envs=8, num_rows=8, num_epochs=1, num_minibatches=1)
    _, metrics = jax.jit(lambda key: loop.run(loop.init(key), 20, 2))(jax.random.key(0))
    # a forbidden action would cost 1
    assert np.isfinite(metrics["loss"]).all() and (metrics["episode_return"] >= 0).all()


def solve(env, network, kind=PpoAgent, iterations=150):
    """A trained agent's parameters and the agent."""
    agent = kind(
        env.specs, network, optax.adam(optax.linear_schedule(2e-2, 0.0, iterations * 4)), gamma=0.5
    )
    loop = OnPolicyScan(agent, env, num_envs=16, num_rows=10, num_epochs=2, num_minibatches=2)
    state = jax.jit(lambda key: loop.run(loop.init(key), iterations)[0])(jax.random.key(0))
    return agent, agent.policy_params(state.train)


@pytest.mark.learning
def test_memory_is_learned_where_it_is_needed_and_only_with_memory():
    env = probes.Recall()
    head = {"hidden": (8,)}
    forgets = ActorValueNetwork(ActorNetwork(env.specs.action, **head), ValueNetwork(**head))
    scores = []
    for network in (recurrent_network(env.specs.action, size=8), forgets):
        agent, params = solve(env, network)
        returns = jax.jit(evaluate_on_device, static_argnums=(0, 1, 4))(
            env, agent.policy, params, jax.random.key(5), 100
        )
        scores.append(float(returns.mean()))
        if network is not forgets:
            observations, values = env.expected_values(0.5)
            np.testing.assert_allclose(agent.value(params, observations), values, atol=0.1)
    assert scores[0] == 1.0 and abs(scores[1]) < 0.4


def test_a_time_limit_is_bootstrapped_through():
    """Rewards of 1 for ever, cut off after 5 steps: the value tends to 1 / (1 - 0.5), not to the
    sum up to the limit.
    """
    env = probes.OneState()
    agent, params = solve(env, recurrent_network(env.specs.action, size=4))
    observations, values = env.expected_values(0.5)
    np.testing.assert_allclose(agent.value(params, observations), values, atol=0.05)


def test_errors():
    with pytest.raises(ValueError, match=r"actions \[2, 3, 2\].*RecurrentActorValueNetwork"):
        PpoAgent(SPECS, recurrent_network(BoundedSpec((2,), np.float32, -1, 1)), optax.sgd(1.0))
    image = EnvironmentSpecs(ArraySpec(()), DiscreteSpec(3))
    with pytest.raises(ValueError, match="A2cAgent: network cannot take observations"):
        build(A2cAgent, image)

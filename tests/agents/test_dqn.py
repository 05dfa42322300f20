"""DqnAgent by hand-worked numbers, by what each option changes, and by what it learns."""

import dataclasses

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax_agents import agents, envs, learners, networks
from jax_agents.agents import losses
from jax_agents.envs.specs import ArraySpec, BoundedSpec, DiscreteSpec, EnvironmentSpecs, SpecError
from jax_agents.envs.types import StepType, TimeStep, Trajectory

FIRST, MID, LAST = StepType.FIRST, StepType.MID, StepType.LAST
SPECS = EnvironmentSpecs(ArraySpec((2,)), DiscreteSpec(2))
FRAMES = np.array([[[1, 2], [5, 6], [9, 10]], [[3, 4], [7, 8], [11, 12]]], np.float32)


class DummyNet(nn.Module):
    """Q(x, y) = [2x + y + 1, x + y + 1] before any training."""

    @nn.compact
    def __call__(self, observation):
        kernel = lambda *_: jnp.array([[2.0, 1.0], [1.0, 1.0]])
        return nn.Dense(2, kernel_init=kernel, bias_init=nn.initializers.ones)(observation)


def make_agent(**options):
    options = {"gamma": 1.0, "optimizer": optax.sgd(0.01)} | options
    return agents.DqnAgent(SPECS, DummyNet(), **options)


def make_rows(observation, step_type=None, **changes):
    """Rows [B, T] of the tests' data D: actions 0 and 1, rewards 10 and 20, environment discounts 0.9."""
    batch, length = observation.shape[:2]
    per_row = lambda values, dtype: np.repeat(np.resize(values, batch)[:, None], length, 1).astype(dtype)
    step_type = np.full((batch, length), MID) if step_type is None else np.asarray(step_type, np.int32)
    rows = Trajectory(
        step_type=step_type,
        observation=observation,
        action=per_row([0, 1], np.int32),
        policy_info=(),
        next_step_type=np.concatenate([step_type[:, 1:], np.full((batch, 1), MID)], 1),
        reward=per_row([10, 20], np.float32),
        discount=per_row([0.9], np.float32),
    )
    return rows._replace(**changes)


DATA = make_rows(FRAMES[:, :2])


def loss_of(agent, rows, weights=None, state=None):
    """The loss and its gradient, compiled."""
    state = agent.init(jax.random.key(0)) if state is None else state

    @jax.jit
    def run(params):
        info = agent.loss(params, state, rows, jax.random.key(1), weights)
        return info.loss, info

    (_, info), grads = jax.value_and_grad(run, has_aux=True)(state.params)
    return info, grads


@pytest.mark.parametrize(
    ("options", "rows", "expected"),
    [
        ({}, DATA, 26.0),
        ({"double": True}, DATA, 26.0),
        ({"td_loss": losses.squared}, DATA, 740.69),
        ({}, DATA._replace(observation=FRAMES[:, :2] * np.float32([[1, 1], [-1, 1]])), 9.8),
        ({"n_step": 2}, make_rows(FRAMES), 47.42),
    ],
    ids=["1.2", "1.2 double", "1.2b squared", "1.3 other next actions", "1.5 two steps"],
)
def test_the_loss_is_that_of_tf_agents(options, rows, expected):
    agent = make_agent(**options)
    info, _ = loss_of(agent, rows)
    np.testing.assert_allclose(info.loss, expected, rtol=1e-5)
    _, trained = jax.jit(agent.train)(agent.init(jax.random.key(0)), rows)
    np.testing.assert_allclose(trained.loss, expected, rtol=1e-5)
    np.testing.assert_allclose(trained.metrics["loss"], expected, rtol=1e-5)


def test_td_errors_and_metrics_of_data_d():
    info, _ = loss_of(make_agent(), DATA)
    np.testing.assert_allclose(info.per_example["td_error"], [20.3, 32.7], rtol=1e-6)  # 1.1 and 1.2: targets 25.3 and 40.7
    np.testing.assert_allclose(info.metrics["q"], (5 + 8) / 2)


def test_gamma_multiplies_the_environments_discount_once():
    info, _ = loss_of(make_agent(gamma=0.5), DATA)
    np.testing.assert_allclose(info.per_example["td_error"], [10 + 0.45 * 17 - 5, 20 + 0.45 * 23 - 8], rtol=1e-6)


def test_decoupled_weight_decay_in_the_optimizer_is_the_gradient_of_an_l2_term():
    """Case 1.4 in this library's form: regularisation lives in the optimizer, with the same gradient 2 W on kernels only."""
    is_kernel = lambda params: jax.tree.map(lambda x: x.ndim == 2, params)
    decayed = optax.chain(optax.add_decayed_weights(2.0, mask=is_kernel), optax.sgd(0.01))
    plain, regular = make_agent(), make_agent(optimizer=decayed)
    state = plain.init(jax.random.key(0))
    (a, _), (b, _) = plain.train(state, DATA), regular.train(regular.init(jax.random.key(0)), DATA)
    dense = lambda s: s.params["q"]["params"]["Dense_0"]
    np.testing.assert_allclose(dense(a)["kernel"] - dense(b)["kernel"], 0.01 * 2 * dense(state)["kernel"], rtol=1e-4)
    np.testing.assert_array_equal(dense(a)["bias"], dense(b)["bias"])


def test_one_step_of_sgd_by_hand():
    """Huber's gradient is -1/B for each example: +lr/2 on the taken action's column times its input."""
    agent = make_agent()
    state, info = jax.jit(agent.train)(agent.init(jax.random.key(0)), DATA)
    dense = state.params["q"]["params"]["Dense_0"]
    np.testing.assert_allclose(dense["bias"], [1.005, 1.005], rtol=1e-6)
    np.testing.assert_allclose(dense["kernel"], [[2.005, 1.015], [1.01, 1.02]], rtol=1e-6)
    assert int(state.step) == 1
    np.testing.assert_allclose(info.metrics["grad_norm"], 0.5 * np.sqrt(1 + 4 + 9 + 16 + 1 + 1), rtol=1e-6)


def test_vmap_over_states_equals_each_on_its_own():
    agent = make_agent()
    states = [agent.init(jax.random.key(0)), agent.init(jax.random.key(1))]
    states[1] = states[1].replace(params=jax.tree.map(lambda x: x + 0.5, states[1].params))
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *states)
    both, info = jax.jit(jax.vmap(agent.train, in_axes=(0, None)))(stacked, DATA)
    for i, state in enumerate(states):
        one, one_info = jax.jit(agent.train)(state, DATA)
        chex.assert_trees_all_close(jax.tree.map(lambda x, i=i: x[i], both.params), one.params, rtol=1e-6)
        np.testing.assert_allclose(info.loss[i], one_info.loss, rtol=1e-6)


def test_weights_multiply_each_examples_loss_and_gradient():
    agent = make_agent()
    info, grads = loss_of(agent, DATA, np.array([0.5, 3.0], np.float32))
    np.testing.assert_allclose(info.loss, (0.5 * 19.8 + 3 * 32.2) / 2, rtol=1e-6)
    np.testing.assert_allclose(info.per_example["td_error"], [20.3, 32.7], rtol=1e-6)  # priorities are not weighted
    np.testing.assert_allclose(grads["q"]["params"]["Dense_0"]["bias"], [-0.25, -1.5], rtol=1e-6)
    for weight, alone in ((np.array([2.0, 0.0], np.float32), 0), (np.array([0.0, 2.0], np.float32), 1)):
        _, weighted = loss_of(agent, DATA, weight)
        _, single = loss_of(agent, jax.tree.map(lambda x, i=alone: x[i : i + 1], DATA))
        chex.assert_trees_all_close(weighted, single, rtol=1e-6)


@pytest.mark.parametrize("options", [{}, {"double": True}, {"n_step": 2}, {"td_loss": losses.squared}])
def test_rows_of_step_type_last_have_exactly_no_gradient(options):
    agent = make_agent(**options)
    rows = make_rows(FRAMES[:, : agent.train_sequence_length] * 1e3)
    rows.step_type[:, 0] = LAST
    info, grads = loss_of(agent, rows)
    chex.assert_trees_all_equal(grads, jax.tree.map(jnp.zeros_like, grads))
    assert float(info.loss) == 0.0
    np.testing.assert_array_equal(info.per_example["td_error"], [0.0, 0.0])
    rows.step_type[1, 0] = MID  # beside an ordinary row, only that row counts, over the whole batch's size
    _, mixed = loss_of(agent, rows)
    _, alone = loss_of(agent, jax.tree.map(lambda x: x[1:], rows))
    chex.assert_trees_all_close(mixed, jax.tree.map(lambda x: x / 2, alone), rtol=1e-6)


def test_termination_stops_the_bootstrap_and_truncation_does_not():
    types = [[MID, LAST], [MID, LAST]]
    rows = make_rows(FRAMES[:, :2], types, discount=np.array([[0, 1], [1, 1]], np.float32))
    info, _ = loss_of(make_agent(), rows)
    np.testing.assert_allclose(info.per_example["td_error"], [10 - 5, 20 + 23 - 8])


def test_n_step_windows_stop_at_the_end_of_an_episode():
    types = [[MID, LAST, FIRST], [MID, MID, LAST]]
    rows = make_rows(FRAMES, types, discount=np.array([[1, 1, 1], [1, 0.5, 1]], np.float32))
    info, _ = loss_of(make_agent(n_step=2), rows)
    truncated_after_one = 10 + 17 - 5  # bootstraps from the final observation, [5, 6], and not from the next episode's
    two_steps = 20 + 1.0 * 20 + 0.5 * (2 * 11 + 12 + 1) - 8
    np.testing.assert_allclose(info.per_example["td_error"], [truncated_after_one, two_steps])


def shifted_targets(agent, kernel):
    state = agent.init(jax.random.key(0))
    targets = {"q": {"params": {"Dense_0": {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.zeros(2)}}}}
    return state.replace(target_params=targets)


def test_targets_come_from_the_target_network_and_double_chooses_online():
    kernel = [[0, 0], [1, 2]]  # target values at [5, 6] are [6, 12], at [7, 8] are [8, 16]; online finds action 0 best
    plain, double = make_agent(), make_agent(double=True)
    single, _ = loss_of(plain, DATA, state=shifted_targets(plain, kernel))
    chosen, _ = loss_of(double, DATA, state=shifted_targets(double, kernel))
    np.testing.assert_allclose(single.per_example["td_error"], [10 + 0.9 * 12 - 5, 20 + 0.9 * 16 - 8], rtol=1e-6)
    np.testing.assert_allclose(chosen.per_example["td_error"], [10 + 0.9 * 6 - 5, 20 + 0.9 * 8 - 8], rtol=1e-6)


def test_no_gradient_flows_through_the_target():
    agent = make_agent(double=True, td_loss=losses.squared)
    _, grads = loss_of(agent, jax.tree.map(lambda x: x[:1], DATA))
    np.testing.assert_allclose(grads["q"]["params"]["Dense_0"]["kernel"], [[-2 * 20.3, 0], [-4 * 20.3, 0]], rtol=1e-5)


MASKED = EnvironmentSpecs({"observation": ArraySpec((2,)), "action_mask": ArraySpec((2,), np.bool_)}, DiscreteSpec(2))


@pytest.mark.parametrize("double", [False, True])
def test_masked_actions_are_neither_taken_nor_bootstrapped_from(double):
    agent = agents.DqnAgent(MASKED, DummyNet(), optax.sgd(0.01), gamma=1.0, double=double, epsilon=0.5)
    masks = np.array([[[1, 1], [0, 1]], [[1, 1], [0, 0]]], bool)  # the second next state forbids everything, which is ignored
    rows = DATA._replace(observation={"observation": DATA.observation, "action_mask": masks})
    info, _ = loss_of(agent, rows)
    np.testing.assert_allclose(info.per_example["td_error"], [10 + 0.9 * 12 - 5, 20 + 0.9 * 23 - 8], rtol=1e-6)

    params = agent.policy_params(agent.init(jax.random.key(0)))
    mask = jnp.broadcast_to(jnp.array([False, True]), (500, 2))
    observation = {"observation": jnp.broadcast_to(jnp.array([1.0, 2.0]), (500, 2)), "action_mask": mask}
    step = TimeStep(jnp.full(500, MID), jnp.zeros(500), jnp.ones(500), observation)
    for policy in (agent.policy, agent.collect_policy):
        np.testing.assert_array_equal(policy.action(params, step, (), jax.random.key(0)).action, 1)
    np.testing.assert_allclose(agent.value(params, observation), 4.0)  # and not the forbidden 5


def test_value_has_the_shape_of_the_batch():
    agent = make_agent()
    params = agent.policy_params(agent.init(jax.random.key(0)))
    np.testing.assert_allclose(agent.value(params, FRAMES), [[5, 17, 29], [11, 23, 35]])
    np.testing.assert_allclose(agent.value(params, FRAMES[0, 0]), 5)
    np.testing.assert_allclose(agent.q_values(params, FRAMES[0, 0]), [5, 4])


def test_polyak_and_periodic_targets_by_numbers():
    online, target = {"w": jnp.array(4.0)}, {"w": jnp.array(2.0)}
    assert float(agents.polyak(0.25)(online, target, 1)["w"]) == 2.5
    kept = [float(agents.periodic(3)(online, target, jnp.int32(step))["w"]) for step in (1, 2, 3, 4, 6)]
    assert kept == [2.0, 2.0, 4.0, 2.0, 4.0]


def test_the_target_network_follows_the_updated_parameters():
    mix = lambda old, new: jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, old, new)
    for update, expected in (
        (agents.polyak(0.1), lambda p: [mix(p[0], p[1]), mix(mix(p[0], p[1]), p[2])]),
        (agents.periodic(2), lambda p: [p[0], p[2]]),
    ):
        agent = make_agent(target_update=update)
        state = agent.init(jax.random.key(0))
        params, targets = [state.params], []
        train = jax.jit(agent.train)
        for _ in range(2):
            state, _ = train(state, DATA)
            params, targets = [*params, state.params], [*targets, state.target_params]
        chex.assert_trees_all_close(targets, expected(params), rtol=1e-6)


@pytest.mark.parametrize("jit_init", [False, True])
def test_the_state_can_be_donated_again_and_again(jit_init):
    agent = make_agent(optimizer=optax.adam(1e-2))
    init = jax.jit(agent.init) if jit_init else agent.init
    state = init(jax.random.key(0))
    online, targets = jax.tree.leaves(state.params), jax.tree.leaves(state.target_params)
    assert not {x.unsafe_buffer_pointer() for x in online} & {x.unsafe_buffer_pointer() for x in targets}
    chex.clear_trace_counter()
    train = jax.jit(chex.assert_max_traces(agent.train, n=1), donate_argnums=0)
    first = None
    for _ in range(4):
        state, info = train(state, DATA)
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


def test_every_field_of_the_configuration_changes_something():
    assert set(ALTERED) == {field.name for field in dataclasses.fields(agents.DqnAgent)}

    def outcome(agent):
        """What an agent does and becomes, from fixed data and keys."""
        rows = make_rows(FRAMES[:, : agent.train_sequence_length])
        mask = np.broadcast_to(np.array([False, True]), (2, agent.train_sequence_length, 2))
        if isinstance(agent.specs.observation, dict):
            rows = rows._replace(observation={"observation": rows.observation, "action_mask": mask})
        state = agent.init(jax.random.key(0))
        if agent.network is not ALTERED["network"]:
            state = state.replace(target_params=shifted_targets(agent, [[0, 0], [1, 2]]).target_params)
        new, info = agent.train(state, rows)
        observation = jax.tree.map(lambda x: jnp.tile(x[:, 0], (50, *[1] * (x.ndim - 2))), rows.observation)
        step = TimeStep(jnp.full(100, MID), jnp.zeros(100), jnp.ones(100), observation)
        action = agent.collect_policy.action(agent.policy_params(state), step, (), jax.random.key(3)).action
        return [np.ravel(x) for x in jax.tree.leaves((info.loss, new.params, new.target_params, action))]

    base = outcome(make_agent())
    for name, value in ALTERED.items():
        changed = outcome(dataclasses.replace(make_agent(), **{name: value}))
        same = len(base) == len(changed) and all(np.array_equal(a, b) for a, b in zip(base, changed, strict=True))
        assert not same, f"{name} changes nothing"


def test_the_collect_policys_epsilon_follows_its_schedule_of_updates():
    agent = make_agent(epsilon=optax.linear_schedule(1.0, 0.0, 10))
    state = agent.init(jax.random.key(0))
    time_step = TimeStep(MID, 0.0, 1.0, jnp.array([1.0, 2.0]))
    for step, epsilon in ((0, 1.0), (5, 0.5), (10, 0.0), (99, 0.0)):
        params = agent.policy_params(state.replace(step=jnp.int32(step)))
        probs = agent.collect_policy.distribution(params, time_step).action.probs
        np.testing.assert_allclose(probs, [1 - epsilon / 2, epsilon / 2], atol=1e-6)


def test_batches_of_dict_observations_and_images():
    specs = EnvironmentSpecs(
        {"camera": BoundedSpec((36, 36, 2), np.uint8, 0, 255), "speed": ArraySpec((2,)), "gear": DiscreteSpec(5)},
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
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), state.params, after.params)["q"]["params"]
    assert all(any(jax.tree.leaves(branch)) for branch in moved.values())  # the convolutions learn too
    for _ in range(30):
        after, last = train(after, rows)
    assert float(last.loss) < float(info.loss)


MASKED_DICT = EnvironmentSpecs({"a": ArraySpec((2,)), "b": ArraySpec((2,))}, DiscreteSpec(2))


def refuses(match, call, error=ValueError):
    with pytest.raises(error, match=match):
        call()


def test_clear_errors():
    make = lambda specs=SPECS, network=None, **options: agents.DqnAgent(
        specs, network or DummyNet(), options.pop("optimizer", optax.sgd(0.1)), **options
    )
    continuous = EnvironmentSpecs(ArraySpec((2,)), BoundedSpec((1,), np.float32, -1, 1))
    refuses("one discrete action.*got float32.*SAC", lambda: make(continuous))
    refuses("one discrete action", lambda: make(EnvironmentSpecs(ArraySpec((2,)), DiscreteSpec((2, 3)))))
    refuses("n_step >= 1, got 0", lambda: make(n_step=0))
    refuses("gamma in 0..1, got 99", lambda: make(gamma=99))
    refuses(r"expected values \[2, 3, 2\].*got \[2, 3, 4\]", lambda: make(network=networks.QNetwork(4)))
    image = EnvironmentSpecs(BoundedSpec((48, 48, 3), np.uint8, 0, 255), DiscreteSpec(2))
    refuses("default_encoder", lambda: make(image, networks.QNetwork(2)))
    refuses("network: cannot take observations.*default_encoder", lambda: make(MASKED_DICT, networks.QNetwork(2)))
    refuses("tau in 0..1, got 5", lambda: agents.polyak(5))
    refuses("at least 1 update, got 0", lambda: agents.periodic(0))
    agent = make()
    state = agent.init(jax.random.key(0))
    refuses(r"T=2\], got \[2, 3\].*sequence_length", lambda: agent.train(state, make_rows(FRAMES)))
    refuses(r"got \[2\]", lambda: agent.train(state, jax.tree.map(lambda x: x[:, 0], DATA)))
    refuses(r"weights: .*shape \[2\], got \[2, 1\]", lambda: agent.train(state, DATA, np.ones((2, 1), np.float32)))
    wrong = DATA._replace(observation=np.zeros((2, 2, 3), np.float32))
    refuses(r"observation: expected .*float32\[2\], got float32\[2,2,3\]", lambda: agent.train(state, wrong), SpecError)
    wrong = DATA._replace(action=DATA.action.astype(np.float32))
    refuses("action: expected .*int32.*got float32", lambda: jax.jit(agent.train)(state, wrong), SpecError)
    refuses("expected one for each role", lambda: make(optimizer={"critic": optax.sgd(0.1)}).init(jax.random.key(0)))


def test_a_time_limit_is_bootstrapped_through():
    """One state, reward 1, cut off after 5 steps: the value is 1 / (1 - 0.8) = 5, not 1 + ... + 0.8^4 = 3.36."""
    env = envs.probes.OneState()
    agent = agents.DqnAgent(
        env.specs, networks.QNetwork(2, (8,)), optax.adam(0.03), gamma=0.8, target_update=agents.periodic(5), epsilon=0.5
    )
    run = jax.jit(
        lambda key: (
            learners.train_on_device(
                agent, env, key, num_iterations=400, num_envs=4, batch_size=32, capacity=400, warmup_rows=20
            )[0].train
        )
    )
    value = agent.value(agent.policy_params(run(jax.random.key(0))), jnp.zeros(1))
    np.testing.assert_allclose(value, 5.0, atol=0.1)

"""DqnAgent by hand-worked numbers: losses, gradients, targets and masks."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents.agents import losses
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs
from jax_agents.envs.types import StepType, TimeStep

FIRST, MID, LAST = StepType.FIRST, StepType.MID, StepType.LAST


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
    ("options", "sign", "expected"),
    [
        ({}, 1, 26.0),
        ({"double": True}, 1, 26.0),
        ({"td_loss": losses.squared}, 1, 740.69),
        ({}, -1, 9.8),
        ({"n_step": 2}, 1, 47.42),
    ],
    ids=["1.2", "1.2 double", "1.2b squared", "1.3 other next actions", "1.5 two steps"],
)
def test_the_loss_is_that_of_tf_agents(options, sign, expected, frames, make_rows, make_dqn):
    agent = make_dqn(**options)
    rows = make_rows(frames[:, : agent.train_sequence_length])
    rows.observation[:, 1, 0] *= sign
    info, _ = loss_of(agent, rows)
    np.testing.assert_allclose(info.loss, expected, rtol=1e-5)
    _, trained = jax.jit(agent.train)(agent.init(jax.random.key(0)), rows)
    np.testing.assert_allclose(trained.loss, expected, rtol=1e-5)
    np.testing.assert_allclose(trained.metrics["loss"], expected, rtol=1e-5)


def test_td_errors_and_metrics_of_data_d(data, make_dqn):
    info, _ = loss_of(make_dqn(), data)
    # 1.1 and 1.2: targets 25.3 and 40.7
    np.testing.assert_allclose(info.per_example["td_error"], [20.3, 32.7], rtol=1e-6)
    np.testing.assert_allclose(info.metrics["q"], (5 + 8) / 2)


def test_gamma_multiplies_the_environments_discount_once(data, make_dqn):
    info, _ = loss_of(make_dqn(gamma=0.5), data)
    np.testing.assert_allclose(
        info.per_example["td_error"], [10 + 0.45 * 17 - 5, 20 + 0.45 * 23 - 8], rtol=1e-6
    )


def test_decoupled_weight_decay_in_the_optimizer_is_the_gradient_of_an_l2_term(data, make_dqn):
    """Case 1.4 in this library's form: regularisation lives in the optimizer, with the same
    gradient 2 W on kernels only.
    """
    is_kernel = lambda params: jax.tree.map(lambda x: x.ndim == 2, params)
    decayed = optax.chain(optax.add_decayed_weights(2.0, mask=is_kernel), optax.sgd(0.01))
    plain, regular = make_dqn(), make_dqn(optimizer=decayed)
    state = plain.init(jax.random.key(0))
    (a, _), (b, _) = plain.train(state, data), regular.train(regular.init(jax.random.key(0)), data)
    dense = lambda s: s.params["q"]["params"]["Dense_0"]
    np.testing.assert_allclose(
        dense(a)["kernel"] - dense(b)["kernel"], 0.01 * 2 * dense(state)["kernel"], rtol=1e-4
    )
    np.testing.assert_array_equal(dense(a)["bias"], dense(b)["bias"])


def test_one_step_of_sgd_by_hand(data, make_dqn):
    """Huber's gradient is -1/B per example: +lr/2 times its input in the taken action's column."""
    agent = make_dqn()
    state, info = jax.jit(agent.train)(agent.init(jax.random.key(0)), data)
    dense = state.params["q"]["params"]["Dense_0"]
    np.testing.assert_allclose(dense["bias"], [1.005, 1.005], rtol=1e-6)
    np.testing.assert_allclose(dense["kernel"], [[2.005, 1.015], [1.01, 1.02]], rtol=1e-6)
    assert int(state.step) == 1
    np.testing.assert_allclose(
        info.metrics["grad_norm"], 0.5 * np.sqrt(1 + 4 + 9 + 16 + 1 + 1), rtol=1e-6
    )


def test_vmap_over_states_equals_each_on_its_own(data, make_dqn):
    agent = make_dqn()
    states = [agent.init(jax.random.key(0)), agent.init(jax.random.key(1))]
    states[1] = states[1].replace(params=jax.tree.map(lambda x: x + 0.5, states[1].params))
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *states)
    both, info = jax.jit(jax.vmap(agent.train, in_axes=(0, None)))(stacked, data)
    for i, state in enumerate(states):
        one, one_info = jax.jit(agent.train)(state, data)
        chex.assert_trees_all_close(
            jax.tree.map(lambda x, i=i: x[i], both.params), one.params, rtol=1e-6
        )
        np.testing.assert_allclose(info.loss[i], one_info.loss, rtol=1e-6)


def test_weights_multiply_each_examples_loss_and_gradient(data, make_dqn):
    agent = make_dqn()
    info, grads = loss_of(agent, data, np.array([0.5, 3.0], np.float32))
    np.testing.assert_allclose(info.loss, (0.5 * 19.8 + 3 * 32.2) / 2, rtol=1e-6)
    # priorities are not weighted
    np.testing.assert_allclose(info.per_example["td_error"], [20.3, 32.7], rtol=1e-6)
    np.testing.assert_allclose(grads["q"]["params"]["Dense_0"]["bias"], [-0.25, -1.5], rtol=1e-6)
    for weight, alone in (
        (np.array([2.0, 0.0], np.float32), 0),
        (np.array([0.0, 2.0], np.float32), 1),
    ):
        _, weighted = loss_of(agent, data, weight)
        _, single = loss_of(agent, jax.tree.map(lambda x, i=alone: x[i : i + 1], data))
        chex.assert_trees_all_close(weighted, single, rtol=1e-6)


@pytest.mark.parametrize(
    "options", [{}, {"double": True}, {"n_step": 2}, {"td_loss": losses.squared}]
)
def test_rows_of_step_type_last_have_exactly_no_gradient(options, frames, make_rows, make_dqn):
    agent = make_dqn(**options)
    rows = make_rows(frames[:, : agent.train_sequence_length] * 1e3)
    rows.step_type[:, 0] = LAST
    info, grads = loss_of(agent, rows)
    chex.assert_trees_all_equal(grads, jax.tree.map(jnp.zeros_like, grads))
    assert float(info.loss) == 0.0
    np.testing.assert_array_equal(info.per_example["td_error"], [0.0, 0.0])
    rows.step_type[1, 0] = (
        MID  # beside an ordinary row, only that row counts, over the whole batch's size
    )
    _, mixed = loss_of(agent, rows)
    _, alone = loss_of(agent, jax.tree.map(lambda x: x[1:], rows))
    chex.assert_trees_all_close(mixed, jax.tree.map(lambda x: x / 2, alone), rtol=1e-6)


def test_termination_stops_the_bootstrap_and_truncation_does_not(frames, make_rows, make_dqn):
    types = [[MID, LAST], [MID, LAST]]
    rows = make_rows(frames[:, :2], types, discount=np.array([[0, 1], [1, 1]], np.float32))
    info, _ = loss_of(make_dqn(), rows)
    np.testing.assert_allclose(info.per_example["td_error"], [10 - 5, 20 + 23 - 8])


def test_n_step_windows_stop_at_the_end_of_an_episode(frames, make_rows, make_dqn):
    types = [[MID, LAST, FIRST], [MID, MID, LAST]]
    rows = make_rows(frames, types, discount=np.array([[1, 1, 1], [1, 0.5, 1]], np.float32))
    info, _ = loss_of(make_dqn(n_step=2), rows)
    # bootstraps from the final observation, [5, 6], and not from the next episode's
    truncated_after_one = 10 + 17 - 5
    two_steps = 20 + 1.0 * 20 + 0.5 * (2 * 11 + 12 + 1) - 8
    np.testing.assert_allclose(info.per_example["td_error"], [truncated_after_one, two_steps])


def test_targets_come_from_the_target_network_and_double_chooses_online(
    data, make_dqn, with_targets
):
    # target values at [5, 6] are [6, 12], at [7, 8] are [8, 16]; online finds action 0 best
    kernel = [
        [0, 0],
        [1, 2],
    ]
    plain, double = make_dqn(), make_dqn(double=True)
    single, _ = loss_of(plain, data, state=with_targets(plain.init(jax.random.key(0)), kernel))
    chosen, _ = loss_of(double, data, state=with_targets(double.init(jax.random.key(0)), kernel))
    np.testing.assert_allclose(
        single.per_example["td_error"], [10 + 0.9 * 12 - 5, 20 + 0.9 * 16 - 8], rtol=1e-6
    )
    np.testing.assert_allclose(
        chosen.per_example["td_error"], [10 + 0.9 * 6 - 5, 20 + 0.9 * 8 - 8], rtol=1e-6
    )


def test_no_gradient_flows_through_the_target(data, make_dqn):
    agent = make_dqn(double=True, td_loss=losses.squared)
    _, grads = loss_of(agent, jax.tree.map(lambda x: x[:1], data))
    np.testing.assert_allclose(
        grads["q"]["params"]["Dense_0"]["kernel"], [[-2 * 20.3, 0], [-4 * 20.3, 0]], rtol=1e-5
    )


MASKED = EnvironmentSpecs(
    {"observation": ArraySpec((2,)), "action_mask": ArraySpec((2,), np.bool_)}, DiscreteSpec(2)
)


@pytest.mark.parametrize("double", [False, True])
def test_masked_actions_are_neither_taken_nor_bootstrapped_from(double, data, make_dqn):
    agent = make_dqn(MASKED, double=double, epsilon=0.5)
    # the second next state forbids everything, which is ignored
    masks = np.array([[[1, 1], [0, 1]], [[1, 1], [0, 0]]], bool)
    rows = data._replace(observation={"observation": data.observation, "action_mask": masks})
    info, _ = loss_of(agent, rows)
    np.testing.assert_allclose(
        info.per_example["td_error"], [10 + 0.9 * 12 - 5, 20 + 0.9 * 23 - 8], rtol=1e-6
    )

    params = agent.policy_params(agent.init(jax.random.key(0)))
    mask = jnp.broadcast_to(jnp.array([False, True]), (500, 2))
    observation = {
        "observation": jnp.broadcast_to(jnp.array([1.0, 2.0]), (500, 2)),
        "action_mask": mask,
    }
    step = TimeStep(jnp.full(500, MID), jnp.zeros(500), jnp.ones(500), observation)
    for policy in (agent.policy, agent.collect_policy):
        np.testing.assert_array_equal(policy.action(params, step, (), jax.random.key(0)).action, 1)
    np.testing.assert_allclose(agent.value(params, observation), 4.0)  # and not the forbidden 5


def test_value_has_the_shape_of_the_batch(frames, make_dqn):
    agent = make_dqn()
    params = agent.policy_params(agent.init(jax.random.key(0)))
    np.testing.assert_allclose(agent.value(params, frames), [[5, 17, 29], [11, 23, 35]])
    np.testing.assert_allclose(agent.value(params, frames[0, 0]), 5)
    np.testing.assert_allclose(agent.q_values(params, frames[0, 0]), [5, 4])

"""What is masked out, or has weight 0, counts for nothing: its numbers may be NaN or infinite, and
the value and the gradient are those with zeros in its place. One table of functions, one of agents.
"""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import agents
from jax_agents.agents import losses, reductions, returns, weighted_mean
from jax_agents.agents.examples import Examples, standardize
from jax_agents.envs.specs import (
    ArraySpec,
    BoundedSpec,
    DiscreteSpec,
    EnvironmentSpecs,
    sample,
)
from jax_agents.envs.types import StepType, Trajectory
from jax_agents.learners.prioritised import importance_weights
from jax_agents.metrics import AverageReturn, EpisodeLog
from jax_agents.metrics.counting import count_rows
from jax_agents.networks import (
    GRU,
    ActorNetwork,
    ActorValueNetwork,
    CriticNetwork,
    QNetwork,
    RecurrentActorValueNetwork,
    RecurrentQNetwork,
    TanhNormalActor,
    ValueNetwork,
)
from jax_agents.networks.continuous import DeterministicActor
from jax_agents.networks.distributions import Categorical, MultiCategorical, epsilon_greedy
from jax_agents.networks.normalizer import (
    RunningStatistics,
    init_statistics,
    merge_statistics,
    update_statistics,
)

GARBAGE = (np.nan, np.inf, -np.inf, 3e38)
ZERO, ONE, TWO = jnp.zeros(2), jnp.array([1.0, 0.0]), jnp.array([0.5, -1.5])

LOGITS = jnp.array([0.5, -jnp.inf, 1.0])
ALLOWED = jnp.array([True, False, True])


def masked_log_probs(x):
    """Log-probabilities of two allowed actions and of one that is forbidden."""
    return jnp.log(jnp.array([0.25, 0.0, 0.75])) + 0.0 * jnp.where(ALLOWED, x, 0.0)


# Each is a function of two numbers of which only the first counts.
FUNCTIONS = {
    "weighted_mean, weight 0": lambda x: weighted_mean(x, ONE),
    "weighted_mean, mask 0": lambda x: weighted_mean(x, None, ONE),
    "weighted_mean, weight of what is masked": lambda x: weighted_mean(TWO, x, ONE),
    "Examples.mean": lambda x: examples(weight=ONE).mean(x),
    "Examples.mean, weights": lambda x: examples(weight=jnp.ones(2)).mean(x, ONE),
    "standardize": lambda x: standardize(jnp.append(x, 2.0), jnp.append(ONE, 1.0)),
    "standardize, one element": lambda x: standardize(x, ONE),
    "scaled": lambda x: losses.scaled(ONE, x),
    "td_target": lambda x: losses.td_target(TWO, ONE, x),
    "update_statistics": lambda x: update_statistics(init_statistics(ArraySpec(())), x, ONE),
    "merge_statistics": lambda x: merge_statistics(RunningStatistics(3 * ONE, x, jnp.abs(x))),
    "gae, discount": lambda x: returns.gae(TWO, ONE, 0.9, jnp.append(1.0, x)),
    "gae, lambda": lambda x: returns.gae(x, 0.9, jnp.zeros(2), jnp.ones(3))[:1],
    "lambda_returns": lambda x: returns.lambda_returns(TWO, ONE, 0.9, jnp.append(1.0, x)),
    "n_step_returns": lambda x: returns.n_step_returns(TWO, ONE, 1.0, jnp.append(1.0, x), 2),
    "discounted_returns": lambda x: returns.discounted_returns(x, ZERO)[:1],
    "vtrace, discount": lambda x: returns.vtrace(TWO, ONE, 0.9, jnp.append(1.0, x), jnp.ones(2)),
    "vtrace, lambda": lambda x: jax.tree.map(
        lambda y: y[:1], returns.vtrace(x, jnp.ones(2), ZERO, jnp.ones(3), jnp.ones(2))
    ),
    "discrete_soft_value": lambda x: losses.discrete_soft_value(
        jnp.array([[x[0], x[1], 1.0]]), masked_log_probs(jnp.array([0.0, x[1], 0.0])), 0.2
    ),
    "discrete_sac_actor": lambda x: losses.discrete_sac_actor(
        jnp.array([[x[0], x[1], 1.0]]), masked_log_probs(jnp.array([0.0, x[1], 0.0])), 0.2
    ),
    "q_learning, mask": lambda x: losses.q_learning(
        jnp.append(x, 1.0), 0, 1.0, 0.9, jnp.append(x, 1.0), ALLOWED
    ),
    "q_learning, discount": lambda x: losses.q_learning(x[:1], 0, 1.0, 0.0, x[1:]),
    "categorical_q_learning, discount": lambda x: losses.categorical_q_learning(
        jnp.arange(2.0),
        jnp.stack([x[0], 1.0])[None],
        0,
        0.5,
        0.0,
        jnp.arange(2.0),
        x[None, 1:] * jnp.ones((1, 2)),
    ),
    "quantile_q_learning, discount": lambda x: losses.quantile_q_learning(
        x[None, :1], jnp.array([0.5]), 0, 1.0, 0.0, x[None, 1:]
    ),
    "to_transition": lambda x: reductions.to_transition(boundary_window(x), 0.9),
    "to_transition, weight": lambda x: reductions.to_transition(plain_windows(x), 0.9, ONE),
    "importance_weights": lambda x: importance_weights(
        jnp.abs(x) + 1, 10, 0.5, jnp.array([False, True])
    )[0],
    "count_rows": lambda x: (
        count_rows(jnp.zeros(1), jnp.zeros(1, jnp.int32), boundary_row(x))[2].returns
    ),
    "metrics": lambda x: AverageReturn().update(
        AverageReturn().init((1,)),
        jax.tree.map(lambda y: y[:, 1], boundary_row(x)),
    ),
    "Categorical.entropy": lambda x: Categorical(jnp.append(x, 1.0)[order()], ALLOWED).entropy(),
    "Categorical.kl_divergence": lambda x: Categorical(
        jnp.append(x, 1.0)[order()], ALLOWED
    ).kl_divergence(Categorical(jnp.ones(3), ALLOWED)),
    "Categorical.kl_divergence, other": lambda x: Categorical(jnp.ones(3), ALLOWED).kl_divergence(
        Categorical(jnp.append(x, 1.0)[order()], ALLOWED)
    ),
    "Categorical.log_prob": lambda x: Categorical(jnp.append(x, 1.0)[order()], ALLOWED).log_prob(2),
    "MultiCategorical.entropy": lambda x: MultiCategorical(
        jnp.append(x, 1.0)[order()], (3,), ALLOWED
    ).entropy(),
    "epsilon_greedy": lambda x: epsilon_greedy(jnp.append(x, 1.0)[order()], 0.1, ALLOWED).entropy(),
}


def order():
    """The second number belongs to the action that is forbidden."""
    return jnp.array([0, 1, 2])


def examples(**changes):
    zeros = jnp.zeros(2)
    return Examples(zeros, zeros, zeros, zeros, zeros, zeros, zeros)._replace(**changes)


def rows_of(step_type, next_step_type, reward, observation=None):
    like = jnp.ones(np.shape(step_type))
    observation = like[..., None] if observation is None else observation
    return Trajectory(
        jnp.asarray(step_type), observation, like, (), jnp.asarray(next_step_type), reward, like
    )


def boundary_row(x):
    """A step of reward x[0], and a boundary row of reward x[1]."""
    return rows_of([[1, 2]], [[2, 0]], x[None])


def boundary_window(x):
    """A window of one step, and one that begins with a boundary row of which all is x[1]."""
    reward = jnp.stack([x, x[::-1]])
    windows = rows_of([[1, 1], [2, 0]], [[1, 1], [0, 1]], reward)
    return windows._replace(action=reward, discount=jnp.where(windows.is_last(), x[1], 1.0))


def plain_windows(x):
    """Two windows of one step; all of the second is x[1]."""
    second = jnp.array([[False], [True]])
    rows = rows_of([[1, 1], [1, 1]], [[1, 1], [1, 1]], jnp.where(second, x[1], x[0]))
    mine = lambda y: jnp.where(second, x[1], y)
    return rows._replace(
        action=mine(rows.action),
        discount=mine(rows.discount),
        observation=jnp.where(second[..., None], x[1], rows.observation),
    )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_does_not_count_may_be_anything(name):
    function = FUNCTIONS[name]

    def summed(x):
        floats = [y for y in jax.tree.leaves(function(x)) if jnp.issubdtype(y.dtype, jnp.floating)]
        return sum(jnp.sum(y * (1.0 + i)) for i, y in enumerate(floats)), function(x)

    run = jax.jit(jax.grad(summed, has_aux=True))
    expected_gradient, expected = run(jnp.array([0.7, 0.0]))
    assert np.isfinite(expected_gradient).all()
    for garbage in GARBAGE:
        gradient, value = run(jnp.array([0.7, garbage]))
        np.testing.assert_array_equal(gradient, expected_gradient)
        for got, want in zip(jax.tree.leaves(value), jax.tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(got, want)


def test_the_log_of_episodes_passes_over_rewards_of_boundary_rows():
    log = EpisodeLog()
    for step, following, reward in ((0, 1, 1.0), (1, 2, 2.0), (2, 0, np.nan), (0, 2, 4.0)):
        log(rows_of(np.int32(step), np.int32(following), np.float32(reward)))
    assert log.take()[0].tolist() == [3.0, 4.0]


@pytest.mark.parametrize("logits", [[0.0, 0.0, -np.inf], [-np.inf, 3.0, -np.inf], [-np.inf] * 3])
def test_a_logit_of_minus_infinity_forbids_as_a_mask_does(logits):
    logits = jnp.array(logits)
    mask = jnp.isfinite(logits)
    masked = Categorical(jnp.where(mask, logits, 0.0), mask)
    key = jax.random.key(0)
    for f in (
        lambda d: d.entropy(),
        lambda d: d.kl_divergence(masked),
        lambda d: masked.kl_divergence(d),
        lambda d: d.probs,
        lambda d: d.log_probs,
        lambda d: d.log_prob(1),
        lambda d: d.sample(key),
        lambda d: d.mode(),
    ):
        np.testing.assert_array_equal(f(Categorical(logits)), f(masked))
        gradient = jax.grad(lambda x, f=f: jnp.sum(f(Categorical(x))).astype(jnp.float32))(logits)
        assert np.isfinite(gradient).all()
    several = MultiCategorical(jnp.append(logits, 0.0), (3, 1))
    np.testing.assert_allclose(several.entropy(), masked.entropy(), atol=1e-6)


# -- agents

DISCRETE = EnvironmentSpecs(ArraySpec((3,)), DiscreteSpec(2))
CONTINUOUS = EnvironmentSpecs(ArraySpec((3,)), BoundedSpec((2,), np.float32, -1, 1))
OPTIMIZER = optax.adam(1e-2)


def actor_value(specs):
    return ActorValueNetwork(ActorNetwork(specs.action, (4,)), ValueNetwork((4,)))


def with_memory(specs):
    actor = ActorNetwork(specs.action, ())
    return RecurrentActorValueNetwork(actor, ValueNetwork(()), core=GRU(4))


def on_policy(kind, specs=DISCRETE, network=actor_value, **options):
    options = {"entropy_coefficient": 0.01} | options
    return lambda: kind(specs, network(specs), OPTIMIZER, **options)


def value_based(kind, num_atoms=None, **options):
    return lambda: kind(DISCRETE, QNetwork(2, (4,), num_atoms=num_atoms), OPTIMIZER, **options)


def actor_critic(kind, actor, **options):
    return lambda: kind(
        CONTINUOUS, actor(CONTINUOUS.action, (4,)), CriticNetwork((4,)), OPTIMIZER, **options
    )


AGENTS = {
    "DQN": value_based(agents.DqnAgent, td_loss=losses.squared),
    "DQN, double, 3 steps": value_based(agents.DqnAgent, double=True, n_step=3),
    "C51": value_based(agents.CategoricalDqnAgent, 5, v_min=-1.0, v_max=1.0),
    "QR-DQN": value_based(agents.QrDqnAgent, 5),
    "recurrent DQN": lambda: agents.RecurrentDqnAgent(
        DISCRETE, RecurrentQNetwork(2, GRU(4), (4,)), OPTIMIZER, sequence_length=3, burn_in=1
    ),
    "SAC": actor_critic(agents.SacAgent, TanhNormalActor),
    "TD3": actor_critic(agents.Td3Agent, DeterministicActor, actor_delay=1),
    "DDPG": actor_critic(agents.DdpgAgent, DeterministicActor),
    "discrete SAC": lambda: agents.DiscreteSacAgent(
        DISCRETE, ActorNetwork(DISCRETE.action, (4,)), QNetwork(2, (4,)), OPTIMIZER
    ),
    "BC": lambda: agents.BehavioralCloningAgent(
        DISCRETE, ActorNetwork(DISCRETE.action, (4,)), OPTIMIZER
    ),
    "BC, continuous": lambda: agents.BehavioralCloningAgent(
        CONTINUOUS, TanhNormalActor(CONTINUOUS.action, (4,)), OPTIMIZER
    ),
    "A2C": on_policy(agents.A2cAgent),
    "A2C, normalisers": on_policy(
        agents.A2cAgent, normalize_observations=True, normalize_rewards=True
    ),
    "REINFORCE": on_policy(agents.ReinforceAgent, network=lambda s: ActorNetwork(s.action, (4,))),
    "REINFORCE, baseline": on_policy(agents.ReinforceAgent),
    "PPO": on_policy(agents.PpoAgent),
    "PPO, continuous, clipped values": on_policy(agents.PpoAgent, CONTINUOUS, value_clip=0.2),
    "PPO, batch, no clipping": on_policy(agents.PpoAgent, clip_ratio=None, advantages="batch"),
    "PPO, penalty": on_policy(agents.PpoAgent, CONTINUOUS, kl_target=0.01),
    "PPO, memory, penalty": on_policy(agents.PpoAgent, network=with_memory, kl_target=0.01),
    "IMPALA": on_policy(agents.ImpalaAgent, network=with_memory),
    "APPO": on_policy(agents.ImpalaAgent, CONTINUOUS, clip_ratio=0.2),
}


def make_rows(agent):
    """Rows `[4, T]`: two streams with a boundary in the middle, and one that begins with one."""
    spec = agent.collect_data_spec
    length = agent.train_sequence_length or 6
    rows = jax.tree.map(np.array, sample(spec, jax.random.key(1), (4, length + 1)))
    step_type = np.full((4, length + 1), StepType.MID)
    step_type[0, 1:3] = StepType.LAST, StepType.FIRST
    step_type[2, :2] = StepType.LAST, StepType.FIRST
    rows = rows._replace(
        step_type=step_type[:, :-1],
        next_step_type=step_type[:, 1:],
        **{
            name: jax.tree.map(lambda x: x[:, :-1], getattr(rows, name))
            for name in ("observation", "action", "policy_info", "reward", "discount")
        },
    )
    ends = rows.next_step_type == StepType.LAST
    return rows._replace(discount=np.where(ends, 0.0, 1.0).astype(np.float32))


def filled(tree, where, number):
    """The tree with its floats replaced where `where` `[B, ...]` is True."""

    def each(x):
        mine = where.reshape(where.shape + (1,) * (x.ndim - where.ndim))
        return np.where(mine, np.float32(number), x) if x.dtype.kind == "f" else x

    return jax.tree.map(lambda x: each(np.asarray(x)), tree)


def boundaries_filled(rows, number):
    """Rows with a number in all floats of boundary rows that no one should read."""
    where = rows.step_type == StepType.LAST
    unread = rows._replace(observation=())
    info = dict(rows.policy_info) if rows.policy_info else {}
    read = {name: info[name] for name in ("carry", "discounted_return") if name in info}
    out = filled(unread, where, number)
    if info:
        out = out._replace(policy_info={**out.policy_info, **read})
    return out._replace(observation=rows.observation)


@functools.cache
def compiled(name):
    """An agent of the table, its first state, its rows, and its compiled `prepare` and `train`."""
    agent = AGENTS[name]()
    state = jax.jit(agent.init)(jax.random.key(0))
    prepare = jax.jit(agent.prepare) if hasattr(agent, "prepare") else lambda *given: given
    return state, make_rows(agent), prepare, jax.jit(agent.train)


def learned(name, rows, weights=None, fill=None):
    """What an update changes and tells: parameters, other state, and the loss's record.

    Args:
      name: Name of the agent.
      rows: Rows to learn from.
      weights: Function from the number of examples to their weights; None for 1.
      fill: Function that changes the examples, given them and their weights.
    """
    state, _, prepare, train = compiled(name)
    state, batch = prepare(state, rows)
    size = len(jax.tree.leaves(batch)[0])
    weights = np.ones(size, np.float32) if weights is None else weights(size)
    state, info = train(state, batch if fill is None else fill(batch, weights), weights)
    return state.params, info.loss, info.metrics, info.per_example, state.extra


def assert_same_and_finite(got, want):
    for (path, x), y in zip(
        jax.tree_util.tree_flatten_with_path(got)[0], jax.tree.leaves(want), strict=True
    ):
        assert np.isfinite(x).all(), path
        np.testing.assert_array_equal(x, y, err_msg=str(path))


@pytest.mark.parametrize("name", AGENTS)
def test_an_update_reads_nothing_of_what_counts_for_nothing(name):
    """The floats of boundary rows, of examples of weight 0, and of those that `prepare` masks."""
    state, rows, _, _ = compiled(name)

    expected = learned(name, boundaries_filled(rows, 0.0))
    moved = jax.tree.map(lambda x, y: not np.array_equal(x, y), expected[0], state.params)
    assert any(jax.tree.leaves(moved))
    for garbage in (np.nan, np.inf):
        assert_same_and_finite(learned(name, boundaries_filled(rows, garbage)), expected)

    def every_second(size):
        return (np.arange(size) % 2).astype(np.float32)

    def of_weight_0(number):
        return lambda batch, weights: filled(batch, weights == 0, number)

    expected = learned(name, rows, every_second, of_weight_0(0.0))
    for garbage in (np.nan, np.inf):
        got = learned(name, rows, every_second, of_weight_0(garbage))
        assert_same_and_finite(got, expected)

    def that_prepare_masks(number):
        def fill(batch, _):
            out = filled(batch._replace(memory=()), np.asarray(batch.weight) == 0, number)
            return out._replace(memory=batch.memory, weight=batch.weight)

        return fill

    if getattr(AGENTS[name](), "prepared", None) is Examples:
        expected = learned(name, rows, fill=that_prepare_masks(1.0))
        for garbage in (np.nan, np.inf, 0.0):  # a standard deviation of 0 is no better
            got = learned(name, rows, fill=that_prepare_masks(garbage))
            assert_same_and_finite(got, expected)


class Forbidding(nn.Module):
    """An actor whose logit of action 1 is -inf."""

    @nn.compact
    def __call__(self, observation):
        logits = nn.Dense(3)(observation)
        return Categorical(jnp.where(jnp.array([True, False, True]), logits, -jnp.inf))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (agents.PpoAgent, {"entropy_coefficient": 0.0}),
        (agents.PpoAgent, {"entropy_coefficient": 0.01}),
        (agents.PpoAgent, {"entropy_coefficient": 0.0, "kl_target": 0.01}),
        (agents.A2cAgent, {"entropy_coefficient": 0.01}),
        (agents.ImpalaAgent, {"entropy_coefficient": 0.01}),
        (agents.ReinforceAgent, {"entropy_coefficient": 0.01}),
    ],
)
def test_logits_of_minus_infinity_leave_all_parameters_finite(kind, options):
    specs = dataclasses.replace(DISCRETE, action=DiscreteSpec(3))
    network = ActorValueNetwork(Forbidding(), ValueNetwork((4,)))
    agent = kind(specs, network, OPTIMIZER, **options)
    rows = make_rows(agent)
    rows = rows._replace(action=np.where(rows.action == 1, 2, rows.action).astype(np.int32))
    # The action of a boundary row may be a forbidden one.
    rows.action[rows.step_type == StepType.LAST] = 1
    state, batch = jax.jit(agent.prepare)(jax.jit(agent.init)(jax.random.key(0)), rows)
    state, info = jax.jit(agent.train)(state, batch)
    for leaf in jax.tree.leaves((state.params, info)):
        assert np.isfinite(leaf).all()


def test_evolution_leaves_lost_members_out():
    network = ActorNetwork(DISCRETE.action, (4,))
    agent = agents.EsAgent(DISCRETE, network, OPTIMIZER, population_size=4)
    state = jax.jit(agent.init)(jax.random.key(0))
    state, info = jax.jit(agent.tell)(state, jnp.array([1.0, jnp.nan, 2.0, 3.0]))
    for leaf in jax.tree.leaves((state.params, info.metrics)):
        assert np.isfinite(leaf).all()

"""Once through each buffer, environment, policy, distribution, network, normaliser and metric: the
marker `quick`. Every result has the dtype that it has in plain JAX, under any setting.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents import metrics, policies, replay
from jax_agents import networks as N
from jax_agents.envs import MapObservation, TimeLimit, classic, probes
from jax_agents.envs.specs import (
    ArraySpec,
    BoundedSpec,
    DiscreteSpec,
    EnvironmentSpecs,
    sample,
    trajectory_spec,
    validate,
)
from jax_agents.envs.types import StepType, TimeStep
from jax_agents.networks import distributions as D

pytestmark = pytest.mark.quick

B = (2, 3)  # batch axes
WIDE = BoundedSpec((2,), np.float32, -2.0, 3.0)
PLAIN_DTYPES = {"float32", "int32", "uint32", "uint8", "bool", "key<fry>"}


def check(tree):
    """Everything is finite and has a dtype of plain JAX."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        assert str(leaf.dtype) in PLAIN_DTYPES, (jax.tree_util.keystr(path), leaf.dtype)
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            assert np.isfinite(leaf).all(), jax.tree_util.keystr(path)


ENVIRONMENTS = {
    **{kind.__name__: kind for kind in (classic.Acrobot, classic.CartPole, classic.MountainCar)},
    "MountainCarContinuous": classic.MountainCarContinuous,
    "Pendulum": classic.Pendulum,
    **{type(p).__name__: lambda p=p: p for p in probes.all_probes()},
    **{type(p).__name__ + ", continuous": lambda p=p: p for p in probes.all_probes(True)},
    "OneState": probes.OneState,
    "Recall": probes.Recall,
    "MaskedActions": probes.MaskedActions,
    "TimeLimit": lambda: TimeLimit(classic.Pendulum(), 2),
    "MapObservation": lambda: MapObservation(probes.Recall(), lambda x: x * 2, ArraySpec((1,))),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_environments(name):
    env = ENVIRONMENTS[name]()

    @jax.jit
    def play(key):
        state, first = env.reset(key)
        after, second = env.step(state, sample(env.specs.action, key))
        return state, first, after, second

    state, first, after, second = play(jax.random.key(0))
    for step in (first, second):
        row = (step.observation, step.reward, step.discount)
        validate(row, (env.specs.observation, env.specs.reward, env.specs.discount))
        assert step.step_type.dtype == np.int32
    check((state, first, after, second))
    dtypes = lambda tree: jax.tree.map(lambda x: x.dtype, tree)
    assert dtypes(state) == dtypes(after)


PIXELS = BoundedSpec((6, 6, 4), np.uint8, 0, 255)


def rows_of(spec, key, num_rows):
    """Random rows `[2, num_rows]` of two streams, each an episode that has just begun."""
    rows = sample(spec, key, (2, num_rows))
    step_type = jnp.full((2, num_rows), StepType.MID).at[:, 0].set(StepType.FIRST)
    return rows._replace(step_type=step_type, next_step_type=jnp.full((2, num_rows), StepType.MID))


@pytest.mark.parametrize("exponent", [None, 0.6])
@pytest.mark.parametrize("kind", [replay.DeviceReplay, replay.FrameStackDeviceReplay])
def test_buffers_on_device(kind, exponent):
    observation = {"camera": PIXELS, "speed": ArraySpec((2,)), "on": ArraySpec((), np.bool_)}
    spec = trajectory_spec(EnvironmentSpecs(observation, DiscreteSpec(3)))
    buffer = kind(spec, 24, sequence_length=2, num_envs=2, priority_exponent=exponent)

    @jax.jit
    def use(key):
        state = buffer.init()
        empty = buffer.sample(state, key, 3)
        state = buffer.add(state, rows_of(spec, key, 4))
        state = buffer.add(state, rows_of(spec, key, 1))
        drawn = buffer.sample(state, key, 3)
        if exponent is not None:
            state = buffer.update_priorities(state, drawn.info.key, jnp.arange(3) / 2)
        counts = (buffer.num_items(state), buffer.num_rows(state), buffer.can_sample(state))
        return buffer.init(), state, empty.experience, empty.info.key, drawn, counts

    fresh, state, *rest = use(jax.random.key(0))
    check((fresh, state, rest))
    validate(rest[2].experience, spec, batch_ndim=2)
    assert jax.tree.map(lambda x: x.dtype, fresh) == jax.tree.map(lambda x: x.dtype, state)


@pytest.mark.parametrize("kind", [replay.HostReplay, replay.FrameStackReplay])
def test_buffers_on_the_host(kind):
    spec = trajectory_spec(EnvironmentSpecs(PIXELS, DiscreteSpec(3)))
    make = lambda spec, length: replay.HostReplay(
        spec, capacity=24, sequence_length=length, priority_exponent=0.6
    )
    buffer = make(spec, 2) if kind is replay.HostReplay else kind(spec, make)
    rows = jax.device_get(rows_of(spec, jax.random.key(0), 6))
    if kind is replay.FrameStackReplay:  # a stack holds the frames before it
        rows = rows._replace(observation=np.zeros_like(rows.observation))
    for t in range(6):
        buffer.add(jax.tree.map(lambda x, t=t: x[:, t], rows))
    drawn = next(buffer.as_dataset(3))
    validate(jax.tree.map(np.asarray, drawn.experience), spec, batch_ndim=2)
    buffer.update_priorities(drawn.info.key, np.ones(3))
    buffer.close()


def test_a_queue():
    spec = trajectory_spec(EnvironmentSpecs(ArraySpec((2,)), DiscreteSpec(3)))
    queue = replay.HostQueue(spec, num_rows=2)
    rows = jax.device_get(rows_of(spec, jax.random.key(0), 4))
    for t in range(4):
        queue.add(jax.tree.map(lambda x, t=t: x[:, t], rows))
    check(next(queue.as_dataset(2)))
    queue.close()


SHAPE = jnp.linspace(-1, 1, 18, dtype=jnp.float32).reshape(*B, 3)
MASK = jnp.array([True, False, True])
DISTRIBUTIONS = {
    "categorical": lambda: D.Categorical(SHAPE),
    "categorical, masked": lambda: D.Categorical(SHAPE, jnp.broadcast_to(MASK, SHAPE.shape)),
    "multi-categorical": lambda: D.MultiCategorical(SHAPE, (1, 2)),
    "epsilon-greedy": lambda: D.epsilon_greedy(SHAPE, 0.1),
    "normal": lambda: D.Normal(SHAPE, jnp.exp(SHAPE)),
    "tanh normal": lambda: D.TanhNormal(SHAPE, jnp.exp(SHAPE)),
    "tanh normal, bounds": lambda: D.TanhNormal(
        SHAPE, jnp.exp(SHAPE), (-1.0, -2.0, -3.0), (0.0, 1.0, 2.0)
    ),
    "uniform": lambda: D.Uniform(SHAPE, SHAPE + 1),
    "deterministic": lambda: D.Deterministic(SHAPE, 1),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distributions(name):
    @jax.jit
    def use(key):
        one = DISTRIBUTIONS[name]()
        action, log_prob = one.sample_and_log_prob(key)
        parts = (one.mode(), one.log_prob(action), one.entropy(), one.kl_divergence(one))
        gradient = ()
        if name not in ("deterministic", "multi-categorical", "uniform"):
            scores = lambda one: one.log_prob(jax.lax.stop_gradient(action)).sum()
            gradient = jax.tree.leaves(jax.grad(scores, allow_int=True)(one))[0]
        return action, log_prob, parts, gradient

    action, log_prob, parts, gradient = use(jax.random.key(0))
    check((action, log_prob, parts, gradient))
    assert log_prob.shape == B


def time_steps(observation):
    ones = jnp.ones(B, jnp.float32)
    return TimeStep(jnp.full(B, StepType.MID), ones, ones, observation)


class Fixed:
    """A network of one output for all observations."""

    def __init__(self, output):
        self.output = output

    def apply(self, variables, observation, rngs=None):
        return self.output


FALLING = lambda step: 1 / (step + 2)  # of whole numbers, as optax's are
ACTOR = policies.ActorPolicy(Fixed(D.Normal(SHAPE[..., :2], jnp.ones((*B, 2), jnp.float32))), WIDE)
POLICIES = {
    "random": lambda: policies.RandomPolicy(DiscreteSpec(3)),
    "random, factors": lambda: policies.RandomPolicy(DiscreteSpec((2, 3))),
    "random, continuous": lambda: policies.RandomPolicy(WIDE),
    "scripted": lambda: policies.ScriptedPolicy([(2, np.int32(1)), (1, np.int32(0))]),
    "boltzmann": lambda: policies.QPolicy(Fixed(SHAPE)),
    "epsilon-greedy": lambda: policies.EpsilonGreedyPolicy(policies.QPolicy(Fixed(SHAPE)), FALLING),
    "greedy": lambda: policies.GreedyPolicy(ACTOR),
    "actor": lambda: dataclasses.replace(ACTOR, info=True),
    "returns": lambda: policies.ReturnTrackingPolicy(dataclasses.replace(ACTOR, info=True), 0.9),
    "gaussian": lambda: policies.GaussianNoisePolicy(ACTOR, WIDE, FALLING),
    "ornstein-uhlenbeck": lambda: policies.OrnsteinUhlenbeckPolicy(ACTOR, WIDE, FALLING),
    "versioned": lambda: policies.VersionedPolicy(dataclasses.replace(ACTOR, info=True)),
}


@pytest.mark.parametrize("name", POLICIES)
def test_policies(name):
    policy = POLICIES[name]()

    @jax.jit
    def use(key):
        params = {"params": {"actor": {}, "q": {}}, "step": jnp.int32(3)}
        params = params | {"version": 1} if name == "versioned" else params
        state = policy.initial_state(B)
        steps = time_steps(SHAPE)
        first = policy.action(params, steps, state, key)
        second = policy.action(params, steps, first.state, key)
        return state, first, second

    state, first, second = use(jax.random.key(0))
    check((state, first, second))
    dtypes = lambda tree: jax.tree.map(lambda x: x.dtype, tree)
    assert dtypes(state) == dtypes(first.state) == dtypes(second.state)


def test_a_policys_noise_in_float64_leaves_states_and_actions_as_their_specs_say():
    policy = POLICIES["ornstein-uhlenbeck"]()
    params = {"params": {"actor": {}}, "step": 0, "noise_scale": jnp.asarray(np.float64(0.1))}
    check(policy.action(params, time_steps(SHAPE), policy.initial_state(B), jax.random.key(0)))


IMAGE = BoundedSpec((9, 9, 2), np.uint8, 0, 255)
TREE = {"a": ArraySpec((2, 2)), "b": DiscreteSpec(3), "c": DiscreteSpec((2, 2)), "d": IMAGE}
NETWORKS = {
    "convolutions": (N.ConvEncoder((3,), (3,), (2,)), IMAGE),
    "residual": (N.ResNetEncoder((3,)), IMAGE),
    "a dict": (N.DictEncoder({"a": N.Flatten(2), "b": N.OneHot(TREE["b"]), "c": N.OneHot(
        TREE["c"]), "d": N.Flatten(3)}), TREE),
    "noisy": (N.NoisyDense(3), ArraySpec((2,))),
    "dueling": (N.QNetwork(3, (4,), dueling=True, num_atoms=5), ArraySpec((2,))),
    "actor, no axis": (N.ActorNetwork(BoundedSpec((), np.float32, -2, 3), (4,)), ArraySpec((2,))),
    "actor, factors": (N.ActorNetwork(DiscreteSpec((2, 3)), (4,)), ArraySpec((2,))),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name):
    network, spec = NETWORKS[name]

    @jax.jit
    def use(key):
        inputs = sample(spec, key, B)
        variables = network.init(key, inputs)
        return variables, network.apply(variables, inputs, rngs={"noise": key})

    check(use(jax.random.key(0)))


def test_normalizers_in_batches_and_merged():
    spec = {"a": ArraySpec((2,)), "b": ArraySpec((), np.float64), "c": ArraySpec((3,), np.bool_)}

    @jax.jit
    def use(key):
        values, empty = sample(spec, key, B), N.init_statistics(spec)
        weighted = N.update_statistics(empty, values, jnp.ones(B))
        seen = N.update_statistics(weighted, values)
        two = jax.tree.map(lambda *x: jnp.stack(x), weighted, seen)
        return empty, seen, N.merge_statistics(two), N.normalize(seen, values)

    empty, seen, merged, normal = use(jax.random.key(0))
    check((empty, seen, merged, normal))
    assert int(seen.count) == 12 and int(merged.count) == 18


def test_metrics_of_rows():
    spec = trajectory_spec(EnvironmentSpecs(ArraySpec((2,)), DiscreteSpec(3)))
    kinds = (
        metrics.AverageReturn,
        metrics.MaxReturn,
        metrics.MinReturn,
        metrics.AverageEpisodeLength,
        metrics.EnvironmentSteps,
        metrics.NumberOfEpisodes,
    )

    @jax.jit
    def use(key):
        row = jax.tree.map(lambda x: x[:, 0], rows_of(spec, key, 1))
        record = kinds[0]().init((2,))
        ended = kinds[0]().update(record, row._replace(next_step_type=jnp.full(2, StepType.LAST)))
        results = [kind().result(one) for kind in kinds for one in (record, ended)]
        return record, ended, results

    check(use(jax.random.key(0)))

"""One update of each agent, in each loop, and what acts: the marker `quick`.

It passes under each of the settings of `test_settings.py`. Whatever the setting, a leaf has the
dtype that it has in plain JAX: the specs say float32, and 64 bits make nothing of ours wider.
"""

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import agents as A
from jax_agents import envs
from jax_agents import networks as N
from jax_agents.envs import HostEnvironment, probes
from jax_agents.envs.classic import Pendulum
from jax_agents.envs.specs import sample
from jax_agents.envs.types import StepType
from jax_agents.evaluation import compute_returns, evaluate_on_device
from jax_agents.learners import (
    EvolutionScan,
    Learner,
    OfflineScan,
    OffPolicyLoop,
    OffPolicyScan,
    OnPolicyLoop,
    OnPolicyScan,
    StatefulLearner,
    learn,
)
from jax_agents.replay import HostReplay

pytestmark = pytest.mark.quick

# Whether JAX is as it is by default.
PLAIN = not jax.config.jax_enable_x64 and not jax.config.jax_debug_nans
PLAIN = PLAIN and jax.config.jax_numpy_rank_promotion == "allow"

WIDER = {"float64", "int64", "uint64"}
H = (4,)  # hidden layers
DISCRETE, CONTINUOUS = probes.ObservationReward(), probes.ObservationReward(continuous=True)
MASKED, RECALL = probes.MaskedActions(), probes.Recall()
WIDE = Pendulum(max_episode_steps=3)  # bounds other than -1..1


def optimizer():
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.linear_schedule(0.1, 0, 9)))


def q_network(env, **options):
    return N.QNetwork(env.specs.action.num_values, H, **options)


def value_based(kind=A.DqnAgent, env=DISCRETE, network=None, **options):
    network = q_network(env) if network is None else network
    options = {"target_update": A.polyak(jnp.float32(0.1))} | options  # as traced ones are
    return env, kind(env.specs, network, optimizer(), **options)


def rainbow():
    options = {"v_min": -1.0, "v_max": 1.0, "hidden": (), "head_hidden": H, "num_atoms": 5}
    options["target_update"] = A.polyak(jnp.float32(0.1))
    return DISCRETE, A.rainbow(DISCRETE.specs, optimizer(), **options)


def recurrent_dqn(core):
    network = N.RecurrentQNetwork(2, core=core, hidden=H, dueling=True)
    options = {"sequence_length": 2, "burn_in": 1, "double": True}
    options["target_update"] = A.polyak(jnp.float32(0.1))
    return RECALL, A.RecurrentDqnAgent(RECALL.specs, network, optimizer(), **options)


def actor_critic(kind, env=WIDE, actor=N.DeterministicActor, **options):
    actor = actor(env.specs.action, H)
    options = {"target_update": A.polyak(jnp.float32(0.1))} | options
    return env, kind(env.specs, actor, N.CriticNetwork(H), optimizer(), **options)


def discrete_sac(env):
    actor = N.ActorNetwork(env.specs.action, H)
    return env, A.DiscreteSacAgent(
        env.specs,
        actor,
        q_network(env),
        optimizer(),
        target_update=A.polyak(jnp.float32(0.1)),
    )


def on_policy(kind, env=DISCRETE, value=True, **options):
    network = N.ActorNetwork(env.specs.action, H)
    if value:
        network = N.ActorValueNetwork(network, N.ValueNetwork(H))
    return env, kind(env.specs, network, optimizer(), **options)


def with_memory(kind, core, env=RECALL, value_core=None, **options):
    actor, value = N.ActorNetwork(env.specs.action, ()), N.ValueNetwork(())
    network = N.RecurrentActorValueNetwork(actor, value, core=core, value_core=value_core)
    return env, kind(env.specs, network, optimizer(), **options)


def cloning(env, actor=N.ActorNetwork):
    return env, A.BehavioralCloningAgent(env.specs, actor(env.specs.action, H), optimizer())


def evolution(env, **options):
    network = N.ActorNetwork(env.specs.action, H)
    return env, A.EsAgent(env.specs, network, optimizer(), population_size=4, **options)


NORMALIZED = {"normalize_observations": True, "normalize_rewards": True}
FALLING = optax.linear_schedule(0.2, 0.0, 9)
# What makes an environment and an agent for it.
CASES = {
    "dqn": lambda: value_based(epsilon=FALLING, td_loss=A.losses.huber, n_step=2),
    "dqn, masks": lambda: value_based(
        env=MASKED, network=q_network(MASKED, dueling=True), double=True
    ),
    "c51": lambda: value_based(
        A.CategoricalDqnAgent, network=q_network(DISCRETE, num_atoms=5), v_min=-1.0, v_max=1.0
    ),
    "qr-dqn": lambda: value_based(A.QrDqnAgent, network=q_network(DISCRETE, num_atoms=5)),
    "rainbow": rainbow,
    "recurrent dqn, lstm": lambda: recurrent_dqn(N.LSTM(4)),
    "recurrent dqn, gru": lambda: recurrent_dqn(N.GRU(4)),
    "sac": lambda: actor_critic(A.SacAgent, actor=N.TanhNormalActor),
    "td3": lambda: actor_critic(A.Td3Agent, exploration_noise=FALLING),
    "ddpg": lambda: actor_critic(A.DdpgAgent, exploration_damping=0.15),
    "discrete sac": lambda: discrete_sac(MASKED),
    "ppo": lambda: on_policy(A.PpoAgent, MASKED, clip_ratio=FALLING, **NORMALIZED),
    "ppo, continuous": lambda: on_policy(A.PpoAgent, WIDE, **NORMALIZED),
    "ppo, penalty": lambda: on_policy(
        A.PpoAgent, WIDE, kl_target=0.01, value_clip=0.2, advantages="batch"
    ),
    "ppo, lstm": lambda: with_memory(A.PpoAgent, N.LSTM(4), value_core=N.GRU(4)),
    "a2c": lambda: on_policy(A.A2cAgent, entropy_coefficient=FALLING),
    "a2c, continuous": lambda: on_policy(A.A2cAgent, WIDE, **NORMALIZED),
    "a2c, gru": lambda: with_memory(A.A2cAgent, N.GRU(4), probes.Recall(continuous=True)),
    "reinforce": lambda: on_policy(A.ReinforceAgent, value=False),
    "reinforce, baseline": lambda: on_policy(A.ReinforceAgent, WIDE),
    "impala": lambda: on_policy(A.ImpalaAgent, WIDE, **NORMALIZED),
    "appo": lambda: on_policy(A.ImpalaAgent, clip_ratio=0.2),
    "cloning": lambda: cloning(MASKED),
    "cloning, continuous": lambda: cloning(WIDE, N.TanhNormalActor),
    "evolution": lambda: evolution(MASKED),
    "evolution, continuous": lambda: evolution(WIDE, normalize_observations=True),
}


@contextlib.contextmanager
def set_x64(value):
    """Sets `jax_enable_x64`, under both versions of JAX, and puts it back."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", value)
    yield
    jax.config.update("jax_enable_x64", before)


def make_loop(env, agent):
    """A loop on device that makes episodes' ends, several updates and drawn mini-batches."""
    if isinstance(agent, A.EsAgent):
        return EvolutionScan(agent, env, num_episodes=2, max_steps=3)
    if isinstance(agent, A.BehavioralCloningAgent):
        rows = sample(agent.collect_data_spec, jax.random.key(0), (6, 2))
        return OfflineScan(agent, env, rows, batch_size=4)
    if isinstance(agent, A.OnPolicyAgent):
        lag = 1 if isinstance(agent, A.ImpalaAgent) else 0
        return OnPolicyScan(
            agent, env, num_envs=2, num_rows=4, num_epochs=2, num_minibatches=2, policy_lag=lag
        )
    recurrent = isinstance(agent, A.RecurrentDqnAgent)
    return OffPolicyScan(
        agent,
        env,
        num_envs=2,
        rows_per_iteration=2,
        updates_per_iteration=2,
        batch_size=3,
        capacity=16,
        warmup_rows=5,
        warmup_policy=agent.collect_policy if recurrent else None,
        priority_exponent=0.6,
        importance_exponent=optax.linear_schedule(0.4, 1.0, 9),
    )


def acts(agent, state, env):
    """What both policies of an agent answer to two environments, and its values."""
    params, key = agent.policy_params(state), jax.random.key(3)
    observation = sample(env.specs.observation, key, (2,))
    step_type = jnp.array([StepType.FIRST, StepType.MID])
    zeros = jnp.zeros(2, jnp.float32)
    time_step = envs.TimeStep(step_type, zeros, zeros + 1, observation)
    answers = []
    for policy in (agent.policy, agent.collect_policy):
        before = policy.initial_state((2,))
        answers.append(policy.action(params, time_step, before, key))
        assert dtypes(answers[-1].state) == dtypes(before)
    if hasattr(agent, "value") and not isinstance(agent, A.ReinforceAgent):
        answers.append(agent.value(params, observation))
    return answers


def one_iteration(case, key):
    """The whole state of a loop after an iteration, its metrics, and how the agent acts then."""
    env, agent = CASES[case]()
    state, metrics = make_loop(env, agent).train(key, 1)
    return state, metrics, acts(agent, state.train, env)


def dtypes(tree):
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): str(leaf.dtype) for path, leaf in leaves}


def finite(tree):
    """Whether every number of a tree is finite."""
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return all(np.isfinite(np.asarray(x, np.float32)).all() for x in floats)


@pytest.mark.parametrize("case", CASES)
def test_an_iteration_on_device_keeps_the_dtypes_of_plain_jax(case):
    state, metrics, answers = jax.jit(lambda key: one_iteration(case, key))(jax.random.key(0))
    assert int(state.train.step) > 0 and finite((state.train, metrics["loss"], answers))
    # All that 64 bits could do is to make a dtype wider.
    assert not WIDER & set(dtypes((state, metrics, answers)).values())
    assert dtypes(state.train) == plain_dtypes(case)


def plain_dtypes(case):
    """The dtypes of an agent's state in plain JAX."""
    with set_x64(False):
        return dtypes(jax.eval_shape(CASES[case]()[1].init, jax.random.key(0)))


def in_bfloat16(agent):
    """The same agent, but its parameters and targets begin in bfloat16."""
    kind = type(agent)
    optimizers = getattr(agent, "role_optimizers", agent.optimizer)
    half = lambda tree: jax.tree.map(lambda x: x.astype(jnp.bfloat16), tree)

    def init(self, key):
        state = kind.init(self, key)
        old = {name: half(x) for name, x in state.extra.items() if name == "old_params"}
        return A.init_state(
            half(state.params), optimizers, key, half(state.target_params), state.extra | old
        )

    fields = {x.name: getattr(agent, x.name) for x in dataclasses.fields(agent) if x.init}
    return type(kind.__name__, (kind,), {"init": init})(**fields)


def example_rows(agent, key):
    """Random rows `[4, T]`, in which every action is allowed."""
    rows = sample(agent.collect_data_spec, key, (4, agent.train_sequence_length or 5))
    allow = lambda x: jnp.ones_like(x) if x.dtype == bool else x
    return rows._replace(observation=jax.tree.map(allow, rows.observation))


def one_update(agent, state, key):
    if isinstance(agent, A.EsAgent):
        members = agent.ask(state)
        fitness = jnp.arange(4.0, dtype=jnp.float32)
        statistics = None
        if agent.normalize_observations:
            statistics = jax.tree.map(lambda x: x[None], state.extra["observation_statistics"])
        state, info = agent.tell(state, fitness, statistics)
        return state, info, members["params"]
    rows = example_rows(agent, key)
    if isinstance(agent, A.OnPolicyAgent):
        state, rows = agent.prepare(state, rows)
    weights = jnp.full(len(jax.tree.leaves(rows)[0]), 0.5, jnp.float32)
    return *agent.train(state, rows, weights), ()


@pytest.mark.skipif(not PLAIN, reason="a setting of its own")
@pytest.mark.parametrize("case", CASES)
def test_bfloat16_parameters_targets_and_optimizer_states_stay_so(case):
    agent = in_bfloat16(CASES[case]()[1])

    def train(key):
        state = agent.init(key)
        return state, one_update(agent, state, key)

    before, (after, info, members) = jax.jit(train)(jax.random.key(0))
    assert "bfloat16" in set(dtypes(before.params).values())
    assert dtypes(after) == dtypes(before)
    assert set(dtypes(members).values()) <= {"bfloat16"}
    assert finite(after) and finite(info.loss)
    moved = jax.tree.map(lambda x, y: bool((x != y).any()), before.params, after.params)
    assert any(jax.tree.leaves(moved))
    if before.target_params and not isinstance(agent, A.Td3Agent):
        moved = jax.tree.map(
            lambda x, y: bool((x != y).any()), before.target_params, after.target_params
        )
        assert any(jax.tree.leaves(moved))


# -- loops and learners on the host


@pytest.mark.parametrize("case", ["dqn", "ddpg"])
def test_a_loop_over_a_host_environment_from_prioritised_replay(case):
    env, agent = CASES[case]()
    length = agent.train_sequence_length
    buffer = HostReplay(
        agent.collect_data_spec, capacity=32, sequence_length=length, priority_exponent=0.6
    )
    loop = OffPolicyLoop(
        agent,
        HostEnvironment(env, 2),
        buffer,
        batch_size=2,
        updates_per_iteration=2,
        importance_exponent=FALLING,
        key=jax.random.key(0),
        seed=0,
    )
    loop.warm_up(12)
    metrics = loop.run(2)
    assert int(loop.state.step) == 4 and np.isfinite(metrics["loss"])
    assert dtypes(loop.state) == plain_dtypes(case)
    buffer.close()


@pytest.mark.parametrize("case", ["ppo", "a2c, gru"])
def test_a_loop_over_a_host_environment_on_policy(case):
    env, agent = CASES[case]()
    options = {"num_rows": 4, "num_epochs": 2, "num_minibatches": 2, "key": jax.random.key(0)}
    loop = OnPolicyLoop(agent, HostEnvironment(env, 2), seed=0, **options)
    assert np.isfinite(loop.run(2)["loss"]) and int(loop.state.step) == 8
    assert dtypes(loop.state) == plain_dtypes(case)


@pytest.mark.parametrize("method", ["jit", "pmap", "sharded"])
def test_a_learner(method):
    agent = CASES["sac"]()[1]
    learner = Learner(agent, jax.devices()[: 1 if method == "jit" else 2], method)
    state = learner.init(jax.random.key(0))
    weights = np.ones(4)  # NumPy's own are float64
    state, info = learner.train(
        state, jax.device_get(example_rows(agent, jax.random.key(1))), weights
    )
    state = learner.fetch(state)
    assert dtypes(state) == plain_dtypes("sac") and np.isfinite(info.loss)
    assert set(dtypes(info).values()) == {"float32"}


def test_a_stateful_learner_and_learning_from_a_queues_rows():
    agent = CASES["sac"]()[1]
    learner = StatefulLearner(agent, key=jax.random.key(0))
    results = learner.update(example_rows(agent, jax.random.key(1)), timesteps={"env_steps": 4})
    assert np.isfinite(results["metrics"]["loss"])
    agent = CASES["reinforce"]()[1]
    train = jax.jit(lambda state, rows: learn(agent, state, rows, jax.random.key(2)))
    rows = example_rows(agent, jax.random.key(1))
    state, metrics = train(agent.init(jax.random.key(0)), rows)
    assert dtypes(state) == plain_dtypes("reinforce") and np.isfinite(metrics["loss"])


@pytest.mark.parametrize("case", ["dqn", "a2c, gru"])
def test_evaluation_on_the_host_and_on_device(case):
    env, agent = CASES[case]()
    params = agent.policy_params(agent.init(jax.random.key(0)))
    returns = compute_returns(HostEnvironment(env, 2), agent.policy, 3, params)
    assert np.isfinite(returns).all() and returns.shape == (3,)
    evaluate = jax.jit(evaluate_on_device, static_argnums=(0, 1, 4, 5))
    returns = evaluate(env, agent.policy, params, jax.random.key(0), 3, 5)
    assert returns.dtype == np.float32 and np.isfinite(returns).all()

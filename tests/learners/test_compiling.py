"""What options may change is how fast a program runs, never what it computes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import agents, networks
from jax_agents.agents.on_policy import OnPolicyAgent
from jax_agents.envs.classic import CartPole, Pendulum
from jax_agents.envs.specs import ArraySpec, BoundedSpec, DiscreteSpec, EnvironmentSpecs, sample
from jax_agents.envs.types import TimeStep
from jax_agents.experiments import PRESETS
from jax_agents.learners import learn
from jax_agents.learners.compiling import (
    PROVEN,
    compile_ahead,
    compiler_options,
    operations,
    optimization_level,
)
from jax_agents.policies.policy import act

pytestmark = pytest.mark.skipif(
    jax.default_backend() != "cpu", reason="elsewhere nothing is asked for"
)
SMALL = {"q": jnp.linspace(-1.0, 1.0, 64).reshape(8, 8)}
LARGE = {"q": jax.ShapeDtypeStruct((256, 256), np.float32)}


def compilations(caplog):
    return [message for message in caplog.messages if "Finished XLA compilation" in message]


def test_the_level_is_for_small_networks_and_gives_way_to_the_users(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=there")
    assert optimization_level(SMALL) == {"compiler_options": {"xla_backend_optimization_level": 1}}
    assert optimization_level(LARGE) == {}
    assert optimization_level(SMALL, level=0) == {
        "compiler_options": {"xla_backend_optimization_level": 0}
    }
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=2")
    assert optimization_level(SMALL) == {}


def test_the_order_is_for_small_updates(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")

    def asked(batch_size):
        options = compiler_options(jnp.sin, (np.ones(3),), SMALL, batch_size)["compiler_options"]
        return "xla_cpu_scheduler_type" in options

    assert asked(4) == (jax.__version_info__ >= (0, 10))
    assert not asked(10_000)


VECTOR = CartPole().specs
CONTINUOUS = Pendulum().specs
IMAGE = EnvironmentSpecs(BoundedSpec((36, 36, 3), np.uint8, 0, 255), DiscreteSpec(2))
MIXED = EnvironmentSpecs(
    {"board": DiscreteSpec(5), "place": ArraySpec((3,)), "action_mask": BoundedSpec((2,), bool)},
    DiscreteSpec(2),
)
SGD = optax.sgd(0.05)


def ppo(specs, network):
    return agents.PpoAgent(specs, network, SGD, normalize_observations=True)


def actor_value(encoder=None):
    return networks.ActorValueNetwork(
        networks.ActorNetwork(VECTOR.action, (16,), encoder), networks.ValueNetwork((16,), encoder)
    )


def preset(name):
    """The agent of a preset; its networks stay as they are."""
    config = PRESETS[name].config
    continuous = name in ("SAC", "TD3", "DDPG", "APEX_DDPG", "PPO")
    return config.agent(CONTINUOUS if continuous else VECTOR)


KINDS = {
    "dense": lambda: ppo(VECTOR, actor_value()),
    "convolutions": lambda: ppo(IMAGE, actor_value(networks.ConvEncoder())),
    "residual convolutions": lambda: ppo(IMAGE, actor_value(networks.ResNetEncoder((4, 4)))),
    "a dict with a mask": lambda: ppo(
        MIXED, actor_value(networks.default_encoder(MIXED.observation))
    ),
    "Q, convolutions": lambda: agents.DqnAgent(
        IMAGE, networks.QNetwork(2, (16,), encoder=networks.ConvEncoder()), SGD
    ),
    "Q, noisy and dueling": lambda: agents.DqnAgent(
        VECTOR, networks.QNetwork(2, (16,), dueling=True, noisy_sigma=0.5), SGD, double=True
    ),
    "GRU": lambda: agents.RecurrentDqnAgent(
        VECTOR, networks.RecurrentQNetwork(2, core=networks.GRU(8)), SGD
    ),
    **{
        name: (lambda name=name: preset(name))
        for name, value in PRESETS.items()
        if name not in ("ES",)
    },
}
DAILY = ("dense", "convolutions")


def program_of(agent):
    """Several updates in a loop and then an action, as the loops of learners compile them."""

    def program(state, rows, key):
        if isinstance(agent, OnPolicyAgent):
            state, metrics = learn(agent, state, rows, key, 2, 2)
        else:
            batches = jax.tree.map(lambda x: x.reshape(2, -1, *x.shape[1:]), rows)
            state, infos = jax.lax.scan(agent.train, state, batches)
            metrics = infos.metrics
        first = jax.tree.map(lambda x: x[:, 0], rows)
        time_step = TimeStep(first.step_type, first.reward, first.discount, first.observation)
        memory = agent.collect_policy.initial_state((len(first.step_type),))
        params = agent.policy_params(state)
        step = act(agent.collect_policy, params, time_step, memory, key, np.int32(7))
        return state.params, metrics, step.action

    return program


def arguments(agent):
    spec, length = agent.collect_data_spec, agent.train_sequence_length or 5
    rows = sample(spec, jax.random.key(1), (10, length))
    rows = rows._replace(
        step_type=jnp.ones_like(rows.step_type), next_step_type=jnp.ones_like(rows.step_type)
    )
    return agent.init(jax.random.key(0)), rows, jax.random.key(2)


@pytest.mark.parametrize(
    "kind",
    [name if name in DAILY else pytest.param(name, marks=pytest.mark.nightly) for name in KINDS],
)
def test_options_change_how_an_update_is_run_and_not_what_it_gives(kind, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    agent = KINDS[kind]()
    args = arguments(agent)
    program = program_of(agent)
    params = args[0].params
    plain = jax.jit(program)(*args)
    for options in (compiler_options(program, args, params, 4), optimization_level(params)):
        compiled = jax.jit(program, **options)
        for _ in range(2):
            result = compiled(*args)
            jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, 1e-4, 1e-5), result, plain)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(plain))


OLD_RUNTIME = pytest.mark.skipif(
    jax.__version_info__ != (0, 6, 2), reason="other versions of JAX have no old runtime"
)


@OLD_RUNTIME
@pytest.mark.nightly
def test_what_the_old_runtime_compiles_is_what_was_compared():
    made = {name: kind() for name, kind in KINDS.items()}
    compared = {name: operations(program_of(a), arguments(a)) for name, a in made.items()}
    assert set().union(*(found for found in compared.values() if found <= PROVEN)) == PROVEN
    for kind in ("convolutions", "Q, convolutions", "residual convolutions"):
        assert "conv_general_dilated" in compared[kind]
        assert not compared[kind] <= PROVEN


@OLD_RUNTIME
def test_the_old_runtime_is_for_proven_operations(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")

    def old(kind):
        agent = KINDS[kind]()
        args = arguments(agent)
        options = compiler_options(program_of(agent), args, args[0].params)
        return "xla_cpu_use_thunk_runtime" in options.get("compiler_options", {})

    assert old("dense")
    assert not old("convolutions")
    assert not old("SAC")  # its critics are computed side by side


def test_what_is_compiled_ahead_is_what_the_call_runs(caplog):
    ahead, late = (jax.jit(lambda x, scale=scale: jnp.cos(x) * scale) for scale in (2.0, 3.0))
    compile_ahead(ahead, jax.ShapeDtypeStruct((5,), np.float32)).join()
    with jax.log_compiles():
        result = ahead(np.ones(5, np.float32))
        _ = late(np.ones(5, np.float32))
    np.testing.assert_allclose(result, 2 * np.cos(np.ones(5)), rtol=1e-6)
    assert len(compilations(caplog)) == 1  # late's


def test_an_error_ahead_is_left_to_the_call():
    def fails(x):
        raise ValueError("not a function")

    function = jax.jit(fails)
    compile_ahead(function, np.float32(1)).join()
    with pytest.raises(ValueError, match="not a function"):
        function(np.float32(1))

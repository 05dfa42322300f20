"""The library's hot loops as `smoke.py` measures them, each with its direct version in `bare/`."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from bare import dqn, ppo, replay, sac
from bare import driver as bare_driver
from bare.common import CHUNK, Run, scanned

from jax_agents import agents, drivers, envs, learners, networks
from jax_agents.envs.types import Trajectory
from jax_agents.replay import DeviceReplay, HostReplay

PPO_ITERATIONS = 4  # in one call of the scan


class Comparison(NamedTuple):
    """A hot loop and its direct version.

    Attributes:
      name: Name in smoke.json.
      library: Function that makes the library's loop.
      bare: Function that makes the direct one.
    """

    name: str
    library: Callable[[], Run]
    bare: Callable[[], Run]


def _dqn_agent(specs: envs.EnvironmentSpecs) -> agents.DqnAgent:
    network = networks.QNetwork(2, hidden=(100, 50))
    return agents.DqnAgent(specs, network, optax.adam(1e-3))


def _ppo_agent(specs: envs.EnvironmentSpecs) -> agents.PpoAgent:
    network = networks.ActorValueNetwork(
        networks.ActorNetwork(specs.action), networks.ValueNetwork()
    )
    return agents.PpoAgent(
        specs,
        network,
        ppo.ppo_optimizer(),
        entropy_coefficient=0.01,
        value_coefficient=0.25,
    )


def off_policy_loop() -> Run:
    """DQN in `OffPolicyLoop` over gymnasium's CartPole, with a `HostReplay`."""
    env = envs.gym.make("CartPole-v1")
    agent = _dqn_agent(env.specs)
    buffer = HostReplay(
        agent.collect_data_spec,
        capacity=dqn.CAPACITY,
        sequence_length=agent.train_sequence_length,
    )
    loop = learners.OffPolicyLoop(
        agent, env, buffer, batch_size=dqn.BATCH, key=jax.random.key(0), seed=0
    )
    loop.warm_up(num_steps=100)

    def run(n: int) -> int:
        loop.run(n)
        return n

    return run


def on_policy_loop() -> Run:
    """PPO in `OnPolicyLoop` over eight of gymnasium's CartPoles."""
    env = envs.gym.make("CartPole-v1", ppo.NUM_ENVS)
    loop = learners.OnPolicyLoop(
        _ppo_agent(env.specs),
        env,
        num_rows=ppo.NUM_ROWS,
        num_epochs=4,
        num_minibatches=4,
        key=jax.random.key(0),
        seed=0,
    )

    def run(n: int) -> int:
        loop.run(n)
        return n

    return run


def _in_calls(loop: learners.OffPolicyScan | learners.OnPolicyScan, length: int) -> Run:
    """Runs a loop of the library, `length` iterations in a call that donates the state."""
    state = jax.jit(loop.init)(jax.random.key(0))
    call = jax.jit(partial(loop.run, num_iterations=length), donate_argnums=0)

    def run(n: int) -> int:
        nonlocal state
        calls = -(-n // length)
        for _ in range(calls):
            state, metrics = call(state)
        jax.block_until_ready((state, metrics))
        return calls * length

    return run


def off_policy_scan() -> Run:
    """DQN in `OffPolicyScan`."""
    env = envs.classic.CartPole()
    agent = _dqn_agent(env.specs)
    loop = learners.OffPolicyScan(
        agent, env, batch_size=dqn.BATCH, capacity=dqn.CAPACITY, warmup_rows=100
    )
    return _in_calls(loop, CHUNK)


def on_policy_scan() -> Run:
    """PPO in `OnPolicyScan`, over eight CartPoles."""
    env = envs.classic.CartPole()
    loop = learners.OnPolicyScan(
        _ppo_agent(env.specs), env, num_envs=ppo.NUM_ENVS, num_rows=ppo.NUM_ROWS
    )
    return _in_calls(loop, PPO_ITERATIONS)


def sac_update() -> Run:
    """The compiled update of SAC on one batch."""
    specs = envs.classic.Pendulum().specs
    actor = networks.TanhNormalActor(specs.action, hidden=sac.HIDDEN)
    critic = networks.CriticNetwork(hidden=sac.HIDDEN)
    agent = agents.SacAgent(specs, actor, critic, optax.adam(3e-4))
    keys = jax.random.split(jax.random.key(0))
    rows = envs.sample(agent.collect_data_spec, keys[0], (sac.BATCH, 2))
    rows = rows._replace(
        step_type=jnp.ones((sac.BATCH, 2), jnp.int32),
        next_step_type=jnp.ones((sac.BATCH, 2), jnp.int32),
    )
    train = jax.jit(agent.train)
    state = agent.init(keys[1])

    def run(n: int) -> int:
        nonlocal state
        for _ in range(n):
            state, info = train(state, rows)
        jax.block_until_ready((state, info))
        return n

    return run


def _cartpole_row() -> Trajectory:
    """A row of CartPole in the middle of an episode."""
    spec = envs.trajectory_spec(envs.classic.CartPole().specs)
    one = np.int32(1)
    return envs.zeros(spec)._replace(step_type=one, next_step_type=one)


def host_replay() -> Run:
    """Adds a row to a `HostReplay` and draws a batch."""
    spec = envs.trajectory_spec(envs.classic.CartPole().specs)
    buffer = HostReplay(spec, capacity=replay.CAPACITY, sequence_length=2)
    row = _cartpole_row()
    for _ in range(2):
        buffer.add(row)
    batches = buffer.as_dataset(replay.BATCH)

    def run(n: int) -> int:
        for _ in range(n):
            buffer.add(row)
            batch = next(batches)
        assert batch.experience.observation.shape == (replay.BATCH, 2, 4)
        return n

    return run


def device_replay(priority_exponent: float | None) -> Run:
    """Adds a row to a `DeviceReplay` and draws a batch, in a scan.

    Args:
      priority_exponent: Exponent of prioritised replay, which also sets the priorities of what was
        drawn; None for uniform replay.
    """
    spec = envs.trajectory_spec(envs.classic.CartPole().specs)
    buffer = DeviceReplay(
        spec, replay.CAPACITY, sequence_length=2, priority_exponent=priority_exponent
    )
    row = jax.tree.map(lambda x: jnp.asarray(x)[None, None], _cartpole_row())

    def step(carry, _):
        state, rows, key = carry
        key, draw_key = jax.random.split(key)
        reward = jnp.full((1, 1), rows, jnp.float32)
        state = buffer.add(state, row._replace(reward=reward))
        sample = buffer.sample(state, draw_key, replay.BATCH)
        total = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(sample.experience))
        if priority_exponent is not None:
            priority = 1.0 + jnp.abs(sample.experience.reward[:, 0] % 7)
            state = buffer.update_priorities(state, sample.info.key, priority)
            total += sample.info.probability.sum()
        return (state, rows + 1, key), total

    state = buffer.add(buffer.init(), jax.tree.map(lambda x: jnp.repeat(x, 2, axis=1), row))
    return scanned(step, (state, jnp.int32(0), jax.random.key(0)))


def driver() -> Run:
    """Acts in gymnasium's CartPole by a `Driver`, with a list as the observer."""
    env = envs.gym.make("CartPole-v1")
    agent = _dqn_agent(env.specs)
    params = agent.policy_params(agent.init(jax.random.key(0)))
    rows: list[Trajectory] = []
    acting = drivers.Driver(env, agent.collect_policy, [rows.append], seed=0)

    def run(n: int) -> int:
        rows.clear()
        acting.run(num_rows=n, params=params)
        assert len(rows) == n
        return n

    return run


COMPARISONS = (
    Comparison("DQN in OffPolicyLoop", off_policy_loop, dqn.off_policy_loop),
    Comparison("DQN in OffPolicyScan", off_policy_scan, dqn.off_policy_scan),
    Comparison("PPO in OnPolicyLoop", on_policy_loop, ppo.on_policy_loop),
    Comparison("PPO in OnPolicyScan", on_policy_scan, partial(ppo.on_policy_scan, PPO_ITERATIONS)),
    Comparison("SAC's update", sac_update, sac.update),
    Comparison("HostReplay", host_replay, replay.host),
    Comparison("DeviceReplay, uniform", partial(device_replay, None), replay.device),
    Comparison("DeviceReplay, prioritised", partial(device_replay, 0.6), replay.prioritised),
    Comparison("Driver", driver, bare_driver.act_and_step),
)

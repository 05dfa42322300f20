"""Configurations that learn from given rows, and the experts whose rows they are."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ..agents.bc import BehavioralCloningAgent
from ..drivers.rollout import rollout, start_rollout
from ..envs.classic import CartPole, Pendulum
from ..envs.types import Array, PolicyStep, TimeStep, Trajectory, Tree
from ..learners.offline import Offline
from ..networks.actor import ActorNetwork
from ..networks.distributions import Deterministic


@dataclasses.dataclass(frozen=True, eq=False)
class Controller:
    """A policy written down by hand: `rule` maps observations `[..., *shape]` to actions `[..., *action_shape]`."""

    rule: Callable[[Array], Array]

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        return ()

    def action(self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None) -> PolicyStep:
        return PolicyStep(self.rule(time_step.observation), state)

    def distribution(self, params: Tree, time_step: TimeStep, state: Tree = ()) -> PolicyStep:
        return PolicyStep(Deterministic(self.rule(time_step.observation)), state)


def balance_pole(observation: Array) -> Array:
    """CartPole's expert: pushes to where the pole leans and turns, and a little against the cart's way."""
    return (observation @ jnp.array([0.05, 0.1, 1.0, 0.4]) > 0).astype(jnp.int32)


def swing_up(observation: Array) -> Array:
    """Pendulum's expert: pumps its energy to that of standing upright, and holds it there (Astrom and Furuta 2000).

    With g = 10, m = l = 1 the energy above that of standing still upright is speed^2 / 6 + 5 (cos - 1).
    """
    cosine, sine, speed = (observation[..., i] for i in range(3))
    energy = speed**2 / 6 + 5 * (cosine - 1)
    pump = -2.0 * jnp.sign(energy * speed + 1e-6)
    hold = -(12.0 * jnp.arctan2(sine, cosine) + 3.0 * speed)
    return jnp.clip(jnp.where(cosine > 0.9, hold, pump), -2.0, 2.0)[..., None]


def expert_rows(env: Any, rule: Callable[[Array], Array], num_rows: int, num_envs: int = 20) -> Trajectory:
    """`num_rows` rows `[num_rows, 1, ...]` of a controller's play."""
    state = start_rollout(env, Controller(rule), jax.random.key(0), jax.random.key(1), num_envs)
    _, rows = jax.jit(partial(rollout, env, Controller(rule), (), num_rows=num_rows // num_envs))(state)
    return jax.tree.map(lambda x: x.reshape(-1, 1, *x.shape[2:]), rows)


def bc_cartpole() -> Offline:
    """20,000 rows of an expert that holds the pole for all 500 steps."""
    env = CartPole()
    agent = BehavioralCloningAgent(env.specs, ActorNetwork(env.specs.action), optax.adam(1e-3))
    return Offline(agent, env, expert_rows(env, balance_pole, 20_000))


def bc_pendulum() -> Offline:
    """20,000 rows of an expert that swings the pendulum up and holds it."""
    env = Pendulum()
    optimizer = optax.adam(optax.linear_schedule(3e-3, 0.0, 3_000))
    agent = BehavioralCloningAgent(env.specs, ActorNetwork(env.specs.action), optimizer)
    return Offline(agent, env, expert_rows(env, swing_up, 20_000))

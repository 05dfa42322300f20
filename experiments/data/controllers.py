"""Experts that are written by hand: policies of a rule, for CartPole and Pendulum."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp

from ...envs.classic import CartPole, Pendulum
from ...envs.types import Array, PolicyStep, TimeStep, Tree
from ...networks.distributions import Deterministic


@dataclasses.dataclass(frozen=True, eq=False)
class Controller:
    """A policy that acts by a rule in JAX.

    Args:
      rule: Function from observations `[..., *shape]` to actions `[..., *action_shape]`.
    """

    rule: Callable[[Array], Array]

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        """(): it has no memory."""
        return ()

    def action(
        self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None
    ) -> PolicyStep:
        """The action of the rule."""
        return PolicyStep(self.rule(time_step.observation), state)

    def distribution(self, params: Tree, time_step: TimeStep, state: Tree = ()) -> PolicyStep:
        """The distribution that is sure of it."""
        return PolicyStep(Deterministic(self.rule(time_step.observation)), state)


def balance_pole(observation: Array) -> Array:
    """CartPole's expert: pushes to where the pole leans and turns, and a little against the cart.

    Args:
      observation: Observations `[..., 4]`.

    Returns:
      Actions `[...]`, int32.
    """
    lean = observation @ jnp.array([0.05, 0.1, 1.0, 0.4], jnp.float32)
    return (lean > 0).astype(jnp.int32)


def swing_up(observation: Array) -> Array:
    """Pendulum's expert: pumps its energy to that of standing upright, and holds it there.

    With g = 10, m = l = 1 the energy above that of standing still upright is
    speed^2 / 6 + 5 (cos - 1) (Astrom and Furuta 2000).

    Args:
      observation: Observations `[..., 3]`: cosine, sine and speed.

    Returns:
      Torques `[..., 1]`.
    """
    cosine, sine, speed = (observation[..., i] for i in range(3))
    energy = speed**2 / 6 + 5 * (cosine - 1)
    pump = -2.0 * jnp.sign(energy * speed + 1e-6)
    hold = -(12.0 * jnp.arctan2(sine, cosine) + 3.0 * speed)
    return jnp.clip(jnp.where(cosine > 0.9, hold, pump), -2.0, 2.0)[..., None]


CONTROLLERS: dict[type, Callable[[Array], Array]] = {CartPole: balance_pole, Pendulum: swing_up}

"""From rows to what losses need, with episode boundaries dealt with here and nowhere else.

Rows are `Trajectory` batches `[B, T, ...]` in the convention of `envs/types.py`: a row whose step
type is LAST carries an episode's true final observation and stands between the episode's last step
and the next episode's first. Three rules follow. An n-step window stops at such a row. The trace of
a lambda-return is cut where the next row is one, so that the return still bootstraps from the final
observation and nothing of the row itself flows back. Its own loss is masked.
"""

import jax
import jax.numpy as jnp

from ..envs.types import Array, StepType, Trajectory, Transition


def to_transition(rows: Trajectory, gamma: Array | float) -> Transition:
    """The n-step transition of each window of rows, with n = T - 1 (Sutton and Barto 2018, eq.
    7.1).

    The window is followed for k <= n steps, until a row that is LAST. With g_j = gamma x
    discount_j,

      reward = sum_{i<k} (prod_{j<i} g_j) r_i        discount = prod_{j<k} g_j
      next_observation = o_k

    so that a target is reward + discount x V(next_observation). A time limit ends the window and
    leaves the discount.

    Args:
      rows: `[B, T, ...]` with T >= 2, on any stream: windows may span episodes.
      gamma: the agent's discount factor; a float, traced or not.

    Returns:
      A `Transition` of arrays `[B, ...]`. `mask` is 0 where row 0 is LAST; nothing else of such a
      window means anything.

    Raises:
      ValueError: if the rows have no batch and time axes, or T < 2.
    """
    shape = jnp.shape(rows.step_type)
    if len(shape) != 2 or shape[1] < 2:
        raise ValueError(
            "to_transition: expected rows [B, T] with T >= 2 (n-step returns need n + 1 rows), "
            f"got step types {list(shape)}"
        )
    ended = rows.step_type[:, :-1] == StepType.LAST
    running = jnp.cumsum(ended, axis=1) == 0
    growth = jnp.cumprod(jnp.where(running, gamma * rows.discount[:, :-1], 1.0), axis=1)
    before = jnp.concatenate([jnp.ones_like(growth[:, :1]), growth[:, :-1]], axis=1)
    first = jax.tree.map(lambda x: x[:, 0], rows)
    if (
        shape[1] == 2
    ):  # no gather for the common case: where row 0 is LAST, the next observation is masked anyway
        next_observation = jax.tree.map(lambda x: x[:, 1], rows.observation)
    else:
        steps = jnp.sum(running, axis=1)
        next_observation = jax.tree.map(
            lambda x: jax.vmap(lambda window, k: window[k])(x, steps), rows.observation
        )
    return Transition(
        observation=first.observation,
        action=first.action,
        reward=jnp.sum(jnp.where(running, before * rows.reward[:, :-1], 0.0), axis=1),
        discount=growth[:, -1],
        next_observation=next_observation,
        mask=learnable(first),
    )


def learnable(rows: Trajectory) -> Array:
    """The loss mask of rows with any leading axes: 0.0 on boundary rows (`step_type == LAST`), 1.0
    elsewhere.
    """
    return jnp.where(rows.step_type == StepType.LAST, 0.0, 1.0)


def padding(rows: Trajectory) -> Array:
    """True on boundary rows that follow a boundary row `[B, T]`: what fills up a short episode
    (`replay.ExperienceQueue`).
    """
    boundary = jnp.asarray(rows.step_type == StepType.LAST)
    return boundary.at[:, 1:].set(boundary[:, 1:] & boundary[:, :-1]).at[:, 0].set(False)


def resets(rows: Trajectory) -> Array:
    """True where a recurrent network must start from its initial state: on rows that are FIRST. Any
    leading axes.
    """
    return rows.step_type == StepType.FIRST


def trace_lambda(rows: Trajectory, lambda_: Array | float) -> Array:
    """Lambda for each row (any leading axes): 0 where the next row is LAST, `lambda_` elsewhere.

    Given this, GAE, lambda-returns and V-trace (`agents/returns.py`) bootstrap from the value of
    the final observation at a time limit, and no boundary row and no other episode leaks into an
    estimate.
    """
    return jnp.where(rows.next_step_type == StepType.LAST, 0.0, lambda_)


def split_bootstrap(rows: Trajectory) -> tuple[Trajectory, Array]:
    """Splits an on-policy segment `[B, T + 1, ...]` into its T steps and their loss mask `[B, T]`.

    Row T only lends its observation, as the network sees all T + 1 of them:

      values = value_network(rows.observation)                                        # [B, T + 1]
      steps, mask = split_bootstrap(rows)
      advantages = jax.vmap(returns.gae)(steps.reward, gamma * steps.discount, trace_lambda(steps,
      lambda_), values)

    V(o_{t+1}) is `values[:, t + 1]` everywhere, since the row after an episode's last step holds
    its final observation.

    Raises:
      ValueError: if the rows have no batch and time axes, or fewer than 2 rows.
    """
    shape = jnp.shape(rows.step_type)
    if len(shape) != 2 or shape[1] < 2:
        raise ValueError(
            f"split_bootstrap: expected rows [B, T + 1] with T >= 1, got step types {list(shape)}"
        )
    steps = jax.tree.map(lambda x: x[:, :-1], rows)
    return steps, learnable(steps)

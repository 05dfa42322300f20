"""Reductions of rows to the inputs of losses, which deal with episode boundaries for all agents.

Rows are `Trajectory` batches `[B, T, ...]` in the convention of `envs/types.py`: a row whose step
type is LAST carries an episode's true final observation and stands between the episode's last step
and the next episode's first. Three rules follow. An n-step window stops at such a row. The trace of
a lambda-return is cut where the next row is one, so that the return still bootstraps from the final
observation and nothing of the row itself flows back. Its own loss is masked.
"""

import jax
import jax.numpy as jnp

from ..envs.types import Array, StepType, Trajectory, Transition, Tree


def select(keep: Array, tree: Tree, other: Tree = None) -> Tree:
    """Returns a tree whose floats are those of another where `keep` is False.

    What a loss masks out must be taken out of what it reads as well: 0 times the gradient of an
    infinite loss is NaN. Integers are finite anyway and stay as they are.

    Args:
      keep: Boolean `[...]`.
      tree: Arrays `[..., *shape]`, each with the axes of `keep` first.
      other: Tree of the same structure and shapes; None for zeros.
    """

    def each(x: Array, other: Array) -> Array:
        if not jnp.issubdtype(jnp.result_type(x), jnp.floating):
            return x
        return jnp.where(keep.reshape(keep.shape + (1,) * (jnp.ndim(x) - keep.ndim)), x, other)

    if other is None:
        return jax.tree.map(lambda x: each(x, 0.0), tree)
    return jax.tree.map(each, tree, other)


def to_transition(
    rows: Trajectory, gamma: Array | float, weights: Array | None = None
) -> Transition:
    """Reduces windows of rows to n-step transitions, n = T - 1 (Sutton and Barto 2018, eq. 7.1).

    A window is followed for k <= n steps, until a row that is LAST. With g_j = gamma x discount_j
    the transition has

      reward = sum_{i<k} (prod_{j<i} g_j) r_i
      discount = prod_{j<k} g_j
      next_observation = o_k

    so that a target is reward + discount x V(next_observation). A time limit ends the window but
    does not set the discount to 0.

    Args:
      rows: Rows `[B, T, ...]` with T >= 2, from any stream: windows may span episodes.
      gamma: Discount factor per step; a float, traced or not.
      weights: Weights `[B]` of the windows' losses; None for 1.

    Returns:
      A `Transition` of arrays `[B, ...]`. Its `mask` is 0 for a window whose row 0 is LAST or whose
      weight is 0. The other floats of such a window are 0, whatever its rows hold, so that a loss
      and its gradient are finite there.

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
    if shape[1] == 2:
        # The common case needs no gather: if row 0 is LAST, the next observation is masked anyway.
        next_observation = jax.tree.map(lambda x: x[:, 1], rows.observation)
    else:
        steps = jnp.sum(running, axis=1)
        next_observation = jax.tree.map(
            lambda x: jax.vmap(lambda window, k: window[k])(x, steps), rows.observation
        )
    counts = running & (before != 0)
    transition = Transition(
        observation=first.observation,
        action=first.action,
        reward=jnp.sum(jnp.where(counts, before * rows.reward[:, :-1], 0.0), axis=1),
        discount=growth[:, -1],
        next_observation=next_observation,
        mask=learnable(first, weights),
    )
    return select(transition.mask > 0, transition)


def learnable(rows: Trajectory, weights: Array | None = None) -> Array:
    """Returns the loss mask of rows: 0.0 on boundary rows (`step_type == LAST`), 1.0 elsewhere.

    Args:
      rows: Rows with any leading axes, which the mask has too.
      weights: Weights of the first axis, `[B]`; where one is 0, so is the mask. None for 1.
    """
    boundary = rows.step_type == StepType.LAST
    if weights is not None:
        boundary |= (weights == 0).reshape(weights.shape + (1,) * (boundary.ndim - 1))
    return jnp.where(boundary, jnp.float32(0.0), jnp.float32(1.0))


def padding(rows: Trajectory) -> Array:
    """Returns True on padding, that is on boundary rows that follow a boundary row, `[B, T]`.

    Such rows fill up a short episode (`replay.ExperienceQueue`).
    """
    boundary = jnp.asarray(rows.step_type == StepType.LAST)
    return boundary.at[:, 1:].set(boundary[:, 1:] & boundary[:, :-1]).at[:, 0].set(False)


def resets(rows: Trajectory) -> Array:
    """Returns True on rows that are FIRST, before which a recurrent network resets its carry.

    The rows may have any leading axes.
    """
    return rows.step_type == StepType.FIRST


def trace_lambda(rows: Trajectory, lambda_: Array | float) -> Array:
    """Returns the lambda of each row: 0 if the next row is LAST, else `lambda_`.

    The rows may have any leading axes.

    Given this, GAE, lambda-returns and V-trace (`agents/returns.py`) bootstrap from the value of
    the final observation at a time limit, and no boundary row and no other episode leaks into an
    estimate.
    """
    return jnp.where(rows.next_step_type == StepType.LAST, jnp.float32(0.0), lambda_)


def split_bootstrap(rows: Trajectory) -> tuple[Trajectory, Array]:
    """Splits an on-policy segment `[B, T + 1, ...]` into its T steps and their loss mask `[B, T]`.

    Row T only lends its observation, since the network sees all T + 1 of them:

      values = value_network(rows.observation)  # [B, T + 1]
      steps, mask = split_bootstrap(rows)
      trace = trace_lambda(steps, lambda_)
      advantages = jax.vmap(returns.gae)(steps.reward, gamma * steps.discount, trace, values)

    V(o_{t+1}) is `values[:, t + 1]` for every step, since the row after an episode's last step
    holds its final observation.

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

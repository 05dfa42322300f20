"""Rows made of transitions or episodes from elsewhere, boundary rows included."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import numpy as np

from ..envs.specs import leaf_name
from ..envs.types import Array, StepType, Trajectory, Tree
from .replay import Observer


class Episode(NamedTuple):
    """An episode of n steps.

    Attributes:
      observation: Observations `[n + 1, ...]`, the final one included.
      action: Actions `[n, ...]`.
      reward: Rewards `[n]`.
      terminated: True if the task ended; False if the episode was cut off, by a time limit say.
      policy_info: What the policy stored with each step, `[n, ...]`; `()` for nothing.
    """

    observation: Tree
    action: Tree
    reward: Array
    terminated: bool
    policy_info: Tree = ()


def from_transitions(
    observation: Tree,
    action: Tree,
    reward: Array,
    next_observation: Tree,
    terminated: Array,
    truncated: Array,
    *,
    policy_info: Tree = (),
) -> Trajectory:
    """Returns the rows of n transitions of one environment, in their order, as a driver makes them.

    After each episode's last step comes its boundary row, with the final observation; its action
    and policy info, which nobody looks at, are those of the step before. Where a transition does
    not begin with the observation that the one before it led to, as in a shuffled data set, and
    after the last one, the episode is truncated.

    Args:
      observation: Observations `[n, ...]`.
      action: Actions `[n, ...]`.
      reward: Rewards `[n]`.
      next_observation: Observations `[n, ...]` that the actions led to; the final ones, not those
        of the next episode, where an episode ended.
      terminated: Booleans `[n]`, true where the task ended: the discount is 0 there.
      truncated: Booleans `[n]`, true where an episode was cut off.
      policy_info: What the policy stored with each step, `[n, ...]`; `()` for nothing.

    Returns:
      Rows `[m, ...]` in NumPy, of which `add_rows` writes each to a buffer. Leaves keep their
      dtypes, but rewards are float32.

    Raises:
      TypeError: if `terminated` or `truncated` are not booleans.
      ValueError: if lengths differ, or there is no transition.
    """
    given = {
        "observation": observation,
        "action": action,
        "reward": reward,
        "next_observation": next_observation,
        "terminated": terminated,
        "truncated": truncated,
        "policy_info": policy_info,
    }
    given = _arrays(given)
    for name in ("terminated", "truncated"):
        if given[name].dtype != np.bool_:
            raise TypeError(f"{name}: expected booleans [n], got {given[name].dtype}")
    n = np.size(given["reward"])
    _check_lengths(given, n)
    now, then = given["observation"], given["next_observation"]
    wanted, got = str(jax.tree.structure(now)), str(jax.tree.structure(then))
    if got != wanted:
        raise ValueError(
            f"next_observation: expected the structure {wanted} of the observation, got {got}"
        )
    over = given["terminated"] | given["truncated"]
    ends = over.copy()
    ends[-1] = True
    for before, after in zip(jax.tree.leaves(then), jax.tree.leaves(now), strict=True):
        same = before[:-1] == after[1:]
        same |= (before[:-1] != before[:-1]) & (after[1:] != after[1:])  # NaN goes on as NaN
        ends[:-1] |= ~same.all(axis=tuple(range(1, same.ndim)))
    first = np.concatenate([[True], ends[:-1]])
    # Row k of the result is step `source[k]`, or the boundary row after it.
    source = np.repeat(np.arange(n), 1 + ends)
    boundary = np.zeros(len(source), bool)
    boundary[np.arange(n)[ends] + np.arange(1, ends.sum() + 1)] = True
    step_type = np.where(first, StepType.FIRST, StepType.MID)
    next_step_type = np.where(ends, StepType.LAST, StepType.MID)
    discount = np.where(given["terminated"], 0.0, 1.0)

    def column(steps: np.ndarray, at_boundary: Any, dtype: type) -> np.ndarray:
        return np.where(boundary, at_boundary, steps[source]).astype(dtype)

    def observed(step: np.ndarray, final: np.ndarray) -> np.ndarray:
        rows = step[source]
        rows[boundary] = final[ends]
        return rows

    return Trajectory(
        step_type=column(step_type, StepType.LAST, np.int32),
        observation=jax.tree.map(observed, now, then),
        action=jax.tree.map(lambda x: x[source], given["action"]),
        policy_info=jax.tree.map(lambda x: x[source], given["policy_info"]),
        next_step_type=column(next_step_type, StepType.FIRST, np.int32),
        reward=column(given["reward"].reshape(n), 0.0, np.float32),
        discount=column(discount, 1.0, np.float32),
    )


def from_episodes(episodes: Iterable[Episode]) -> Trajectory:
    """Returns the rows of whole episodes, one after the other; see `from_transitions`.

    Args:
      episodes: Episodes of at least one step.

    Returns:
      Rows `[m, ...]` in NumPy: of each episode its n steps, and its boundary row.

    Raises:
      TypeError: if something is no `Episode`.
      ValueError: if lengths differ, or there is no episode.
    """
    parts = []
    for i, episode in enumerate(episodes):
        if not isinstance(episode, Episode):
            raise TypeError(
                f"episodes[{i}]: expected a replay.Episode(observation, action, reward, "
                f"terminated), got {type(episode).__name__}"
            )
        n = np.size(episode.reward)
        observation = _arrays(episode.observation)
        for path, leaf in jax.tree_util.tree_flatten_with_path({"observation": observation})[0]:
            if np.shape(leaf)[:1] != (n + 1,):
                raise ValueError(
                    f"episodes[{i}]: {leaf_name(path)}: expected {n + 1} of them for {n} rewards, "
                    f"the final one included, got shape {list(np.shape(leaf))}"
                )
        last = np.arange(n) == n - 1
        rows = from_transitions(
            jax.tree.map(lambda x: x[:-1], observation),
            episode.action,
            episode.reward,
            jax.tree.map(lambda x: x[1:], observation),
            last & bool(episode.terminated),
            last & (not episode.terminated),
            policy_info=episode.policy_info,
        )
        parts.append(rows)
    if not parts:
        raise ValueError("episodes: expected at least one, got none")
    joined: Trajectory = jax.tree.map(lambda *x: np.concatenate(x), *parts)
    return joined


def add_rows(observer: Observer, rows: Trajectory) -> None:
    """Gives rows `[m, ...]` of one stream to an observer, one at a time.

    Args:
      observer: Function that takes a row: `buffer.writer()` for a stream of its own, or
        `buffer.add`.
      rows: Rows, as `from_transitions` and `from_episodes` return them.
    """
    for i in range(len(rows.step_type)):
        observer(jax.tree.map(lambda x, i=i: x[i], rows))


def _arrays(tree: Tree) -> Tree:
    """Returns the tree with arrays for leaves; a list is one of them, of many numbers."""
    return jax.tree.map(np.asarray, tree, is_leaf=lambda x: isinstance(x, list))


def _check_lengths(given: dict[str, Tree], n: int) -> None:
    if n == 0:
        raise ValueError("reward: expected at least one transition, got none")
    for path, leaf in jax.tree_util.tree_flatten_with_path(given)[0]:
        if np.shape(leaf)[:1] != (n,):
            raise ValueError(
                f"{leaf_name(path)}: expected {n} entries along its first axis, as many as there "
                f"are rewards, got shape {list(np.shape(leaf))}"
            )
    if np.ndim(given["reward"]) != 1:
        raise ValueError(
            f"reward: expected [n], of one environment, got shape {list(np.shape(given['reward']))}"
            "; call this for each environment, and write each to a writer() of its own"
        )

"""Keeps two adapters from stepping one gymnasium environment, which a function returned twice."""

import weakref
from typing import Any

# Adapters that are not closed, by the id of each environment that they step. An adapter keeps its
# environments alive, so that the ids stay theirs.
_HOLDERS: "weakref.WeakValueDictionary[int, Any]" = weakref.WeakValueDictionary()


def parts(env: Any) -> list[Any]:
    """Returns the environments that are stepped in this process, without their wrappers.

    There are several in a `SyncVectorEnv`, and none in an `AsyncVectorEnv`, whose processes have
    copies.

    Args:
      env: A gymnasium environment or vector environment.
    """
    inner = getattr(env, "unwrapped", env)
    if hasattr(inner, "envs"):
        return [one.unwrapped for one in inner.envs]
    return [] if hasattr(inner, "single_observation_space") else [inner]


def hold(adapter: Any, env: Any) -> None:
    """Notes that an adapter steps an environment."""
    for part in parts(env):
        _HOLDERS[id(part)] = adapter


def release(adapter: Any, env: Any) -> None:
    """Notes that an adapter is closed."""
    for part in parts(env):
        if _HOLDERS.get(id(part)) is adapter:
            del _HOLDERS[id(part)]


def check_new(env: Any) -> None:
    """Checks that the environments that a function has made are new ones.

    Raises:
      ValueError: if the function has returned one twice, or one that another adapter steps.
    """
    made = parts(env)
    name = type(made[0]).__name__ if made else ""
    advice = (
        "two that share one would step and reset it for each other. Return a new environment from "
        f"each call, as in lambda: {name}(...), and not one that was made before"
    )
    if len({id(part) for part in made}) < len(made):
        raise ValueError(
            f"env: the function returned the same {name} for several of {len(made)} environments; "
            f"{advice}"
        )
    if any(id(part) in _HOLDERS for part in made):
        raise ValueError(
            f"env: the function returned a {name} that is in use already, in training for "
            f"example; {advice}, or close the other first"
        )

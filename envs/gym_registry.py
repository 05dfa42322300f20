"""Looks ids up in gymnasium's registry, and names the packages that they need."""

import difflib
import importlib
from collections.abc import Callable, Sequence
from typing import Any

_INSTALL = {
    "ale_py": 'pip install "jax-agents[atari]"',
    "mujoco": 'pip install "jax-agents[mujoco]"',
    "box2d": 'pip install "jax-agents[box2d]"',
    "toy_text": 'pip install "gymnasium[toy-text]"',
    "classic_control": 'pip install "gymnasium[classic-control]"',
}


def find_spec(env_id: str) -> Any:
    """Returns gymnasium's spec of an id.

    Args:
      env_id: Registered id, which may begin with the module that registers it:
        "my_games:Maze-v0".

    Raises:
      ValueError: if there is none; the message names the nearest ones.
      ImportError: if an extra is missing; the message names the command that installs it.
    """
    import gymnasium

    module, _, env_id = env_id.rpartition(":")
    if module:  # as gymnasium.make takes it
        importlib.import_module(module)
    if env_id.startswith("ALE/") or "NoFrameskip-v" in env_id:
        try:
            import ale_py
        except ImportError as error:
            raise ImportError(f"{env_id} needs ale-py: {_INSTALL['ale_py']}") from error
        gymnasium.register_envs(ale_py)
    try:
        return gymnasium.spec(env_id)
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        known = {name.lower(): name for name in gymnasium.registry}
        near = [
            known[name]
            for name in difflib.get_close_matches(env_id.lower(), known, n=3, cutoff=0.5)
        ]
        hint = f"did you mean {' or '.join(near)}" if near else "see gymnasium.pprint_registry()"
        raise ValueError(
            f"env: no environment {env_id!r} is registered; {hint}. Atari games are named like "
            f"ALE/Pong-v5 and need {_INSTALL['ale_py']}; environments of other packages are "
            "registered by importing these packages"
        ) from error


def render_modes(spec: Any, env_id: str) -> Sequence[str]:
    """Returns the render modes of an id's environment, without making one.

    Raises:
      ImportError: if a package is missing; see `installed`.
    """
    from gymnasium.envs.registration import load_env_creator

    entry = installed(
        lambda: (
            spec.entry_point if callable(spec.entry_point) else load_env_creator(spec.entry_point)
        ),
        env_id,
    )
    return (getattr(entry, "metadata", None) or {}).get("render_modes", ())


def installed(create: Callable[[], Any], env: str | Callable[[], Any]) -> Any:
    """Calls `create` and returns its result.

    Args:
      create: Function that makes an environment or imports its class.
      env: Id or maker of the environment, which the message names.

    Raises:
      ImportError: if a package is missing; the message says how to install it where that is known.
    """
    import gymnasium

    try:
        return create()
    except (gymnasium.error.DependencyNotInstalled, ImportError) as error:
        entry = str(gymnasium.registry[env].entry_point) if env in gymnasium.registry else ""
        command = next(
            (command for name, command in _INSTALL.items() if name in entry.lower()), None
        )
        if command is None:
            raise
        raise ImportError(
            f"{env} needs a package that is not installed ({error}): {command}"
        ) from error

"""The choice of a run's loop, and of its replay buffer."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ... import replay as replay_lib
from ...agents.agent import Agent
from ...replay.replay import ReplayBuffer
from ..configs.base import Config
from .actors import ActorsRunner
from .compiled import CompiledRunner
from .loop import LoopRunner
from .protocol import Runner

RUNNERS = ("loop", "vector", "device", "ray")
Actors = tuple[Callable[[int], Any], Callable[[Any], Any], int]


def check_runner(runner: str, config: Config) -> None:
    """Raises a ValueError unless there is such a runner, and it suits the configuration."""
    if runner not in RUNNERS:
        raise ValueError(f"runner: expected 'loop', 'vector', 'device' or 'ray', got {runner!r}")
    if runner not in config.runners:
        raise ValueError(f"runner {runner!r}: {config.why_these_runners}")
    if runner == "vector" and config.num_envs == 1:
        raise ValueError(
            "runner 'vector' steps several environments at once; "
            "set config num_envs to their number"
        )


def resolve_replay(runner: str, config: Config, wanted: str) -> tuple[str, str]:
    """The kind of a run's replay, and a sentence that says why.

    Args:
      runner: Name of the runner.
      config: Configuration that it suits.
      wanted: Wish for the Python loop, if its agent learns from replay: see `choose_replay`, which
        may raise.

    Returns:
      "none", "device", "reverb" or "host", and the sentence.

    Raises:
      ValueError: for another word.
      ImportError: if Reverb is asked for and is not installed.
    """
    if wanted not in ("auto", "reverb", "host", "device", "none"):
        raise ValueError(f"replay: expected 'auto', 'reverb' or 'host', got {wanted!r}")
    if runner == "device" and not config.from_data:
        return "device", "on device, part of the compiled loop"
    if config.learns_from is not None:
        return "none", f"none, it learns from {config.learns_from}"
    if runner == "ray":
        return "host", "in process, for the rows of all actors"
    return choose_replay(wanted)


def choose_replay(wanted: str) -> tuple[str, str]:
    """ "reverb" or "host", for "auto" or one of these, and a sentence that says why.

    Raises:
      ValueError: for another word.
      ImportError: if Reverb is asked for and is not installed.
    """
    if wanted not in ("auto", "reverb", "host"):
        raise ValueError(f"replay: expected 'auto', 'reverb' or 'host', got {wanted!r}")
    if wanted == "host":
        return "host", "in process, as asked for"
    if replay_lib.has_reverb():
        return "reverb", "an embedded Reverb server" + ", as asked for" * (wanted == "reverb")
    if wanted == "reverb":
        _ = replay_lib.ReverbReplay  # raises, and says what to install
    return "host", (
        "in process, since Reverb is not installed for this Python; it is there for Python 3.11 on "
        'Linux x86-64: pip install "jax-agents[reverb]"'
    )


def make_replay(
    kind: str, config: Any, agent: Agent, seed: int, scratch: Path | None = None
) -> ReplayBuffer:
    """The buffer of a configuration.

    Args:
      kind: "host" or "reverb".
      config: Configuration of an agent that learns from replay.
      agent: The agent.
      seed: Seed of the draws.
      scratch: Folder where Reverb writes what it is about to save; None for a temporary one.
    """
    arguments: dict[str, Any] = {
        "capacity": config.replay_capacity,
        "sequence_length": agent.train_sequence_length,
        "priority_exponent": config.priority_exponent,
    }
    if kind == "host":
        return replay_lib.HostReplay(agent.collect_data_spec, seed=seed, **arguments)
    return replay_lib.ReverbReplay(agent.collect_data_spec, checkpoint_dir=scratch, **arguments)


def make_runner(
    config: Config,
    agent: Any,
    env: Any,
    seed: int,
    replay: str,
    folder: Path | None,
    actors: Actors | None = None,
) -> Runner:
    """The runner of a configuration.

    Args:
      config: Configuration of the run.
      agent: Its agent.
      env: A JAX environment for replay "device", else a host one.
      seed: Seed of everything that is drawn.
      replay: Result of `resolve_replay`.
      folder: Folder of checkpoints, where Reverb writes what it is about to save; None for a
        temporary one.
      actors: Functions that make environments and agents in Ray actors, and the number of actors;
        None without actors.
    """
    if actors is not None:
        buffer = None if replay == "none" else make_replay("host", config, agent, seed)
        make_env, make_agent, num_workers = actors
        return ActorsRunner(config, agent, make_env, make_agent, buffer, seed, num_workers)
    if config.from_data or replay == "device":
        return CompiledRunner(config, agent, env, seed)
    if replay == "none":
        return LoopRunner(config, agent, env, None, seed)
    for leftover in () if folder is None else folder.glob("jax-agents-reverb-*"):
        shutil.rmtree(leftover, ignore_errors=True)  # of a process that was killed
    return LoopRunner(config, agent, env, make_replay(replay, config, agent, seed, folder), seed)

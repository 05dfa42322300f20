"""Which loop a run has, and which replay buffer."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ... import replay as replay_lib
from ...agents.agent import Agent
from ...replay.replay import Replay
from ..configs.base import OnPolicyConfig
from ..configs.cloning import BcConfig
from ..configs.evolution import EsConfig
from .actors import ActorsRunner
from .cloning import OfflineRunner
from .device import DeviceRunner
from .evolution import EvolutionRunner
from .loop import LoopRunner
from .protocol import Runner

Actors = tuple[Callable[[int], Any], Callable[[Any], Any], int]


def check_runner(runner: str, config: Any) -> None:
    """Raises a ValueError unless there is such a runner, and it suits the configuration."""
    if runner not in ("loop", "vector", "device", "ray"):
        raise ValueError(f"runner: expected 'loop', 'vector', 'device' or 'ray', got {runner!r}")
    if isinstance(config, BcConfig) and runner in ("vector", "ray"):
        raise ValueError(
            f"runner {runner!r}: BC learns from a data set and steps no environment; use runner "
            "'loop' or 'device'"
        )
    if isinstance(config, EsConfig) and runner != "device":
        raise ValueError(
            f"runner {runner!r}: ES plays whole populations at once, on device; use runner 'device'"
        )
    if runner == "vector" and config.num_envs == 1:
        raise ValueError(
            "runner 'vector' steps several environments at once; set config num_envs to their "
            "number"
        )


def resolve_replay(runner: str, config: Any, wanted: str) -> tuple[str, str]:
    """What `make_runner` needs to know of a run's replay ("none", "device", "reverb" or "host"),
    and a sentence that says why.

    Args:
      runner, config: that fit together.
      wanted: for the Python loop, if its agent learns from replay: see `choose_replay`, and what
        that raises.
    """
    if isinstance(config, BcConfig):
        return "none", f"none, it learns from {config.dataset}"
    if runner == "device":
        return "device", "on device, part of the compiled loop"
    if isinstance(config, OnPolicyConfig):
        return "none", "none, it learns from fresh rows"
    if runner == "ray":
        return "host", "in process, for the rows of all actors"
    return choose_replay(wanted)


def choose_replay(wanted: str) -> tuple[str, str]:
    """ "reverb" or "host", for "auto" or one of these, and a sentence that says why.

    Raises:
      ValueError: another word.
      ImportError: Reverb was asked for and is not installed.
    """
    if wanted not in ("auto", "reverb", "host"):
        raise ValueError(f"replay: expected 'auto', 'reverb' or 'host', got {wanted!r}")
    if wanted == "host":
        return "host", "in process, as asked for"
    if replay_lib.has_reverb():
        return "reverb", "an embedded Reverb server" + (
            ", as asked for" if wanted == "reverb" else ""
        )
    if wanted == "reverb":
        _ = replay_lib.ReverbReplay  # raises, and says what to install
    return "host", (
        "in process, since Reverb is not installed for this Python; it is there for Python 3.11 "
        "on Linux x86-64: "
        'pip install "jax-agents[reverb]"'
    )


def make_replay(
    kind: str, config: Any, agent: Agent, seed: int, scratch: Path | None = None
) -> Replay:
    """The buffer of a configuration; `scratch` is where Reverb writes what it is about to save."""
    arguments: dict[str, Any] = {
        "capacity": config.replay_capacity,
        "sequence_length": agent.train_sequence_length,
        "priority_exponent": config.priority_exponent,
    }
    if kind == "host":
        return replay_lib.HostReplay(agent.collect_data_spec, seed=seed, **arguments)
    return replay_lib.ReverbReplay(agent.collect_data_spec, checkpoint_dir=scratch, **arguments)


def make_runner(
    config: Any,
    agent: Any,
    env: Any,
    seed: int,
    replay: str,
    folder: Path | None,
    actors: Actors | None = None,
) -> Runner:
    """The loop of a configuration.

    Args:
      config, agent, env: that fit together; the environment is a JAX one for replay "device", else
        a host one.
      seed: of everything that is drawn.
      replay: "reverb" or "host" for the Python loop, "none" for that of agents without replay,
        "device" for the one on device.
      folder: of checkpoints, where Reverb writes what it is about to save; None: a temporary one.
      actors: what makes environments and agents in Ray actors, and how many there are; None: there
        are none.
    """
    if actors is not None:
        buffer = None if replay == "none" else make_replay("host", config, agent, seed)
        return ActorsRunner(config, agent, *actors[:2], buffer, seed, actors[2])
    if isinstance(config, BcConfig):
        return OfflineRunner(config, agent, env, seed)
    if replay == "device":
        on_device = EvolutionRunner if isinstance(config, EsConfig) else DeviceRunner
        return on_device(config, agent, env, seed)
    if replay == "none":
        return LoopRunner(config, agent, env, None, seed)
    for leftover in (
        () if folder is None else folder.glob("jax-agents-reverb-*")
    ):  # of a killed process
        shutil.rmtree(leftover, ignore_errors=True)
    return LoopRunner(config, agent, env, make_replay(replay, config, agent, seed, folder), seed)

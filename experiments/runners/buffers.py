"""Which replay buffer a run of the Python loop has."""

from pathlib import Path
from typing import Any

from ... import replay as replay_lib
from ...agents.agent import Agent
from ...replay.replay import Replay


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
        return "reverb", "an embedded Reverb server" + (", as asked for" if wanted == "reverb" else "")
    if wanted == "reverb":
        _ = replay_lib.ReverbReplay  # raises, and says what to install
    return "host", (
        "in process, since Reverb is not installed for this Python; it is there for Python 3.11 on Linux x86-64: "
        'pip install "jax-agents[reverb]"'
    )


def make_replay(kind: str, config: Any, agent: Agent, seed: int, scratch: Path | None = None) -> Replay:
    """The buffer of a configuration; `scratch` is where Reverb writes what it is about to save."""
    arguments: dict[str, Any] = {
        "capacity": config.replay_capacity,
        "sequence_length": agent.train_sequence_length,
        "priority_exponent": config.priority_exponent,
    }
    if kind == "host":
        return replay_lib.HostReplay(agent.collect_data_spec, seed=seed, **arguments)
    return replay_lib.ReverbReplay(agent.collect_data_spec, checkpoint_dir=scratch, **arguments)

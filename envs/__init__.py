"""Environments: records, specs, gymnasium's (`envs.gym.make`), JAX's (`envs.classic`), adapters."""

if "." not in __name__:
    raise ImportError(f"import jax_agents.{__name__} instead of {__name__}")

from . import atari, classic, gym, probes
from .environment import Environment, JaxEnvironment
from .episodic import EpisodeState, EpisodicEnvironment
from .host import HostEnvironment, reset_batch, step_batch
from .preprocessing import Preprocessor, get_preprocessor
from .specs import (
    ArraySpec,
    BoundedSpec,
    DiscreteSpec,
    EnvironmentSpecs,
    SpecError,
    sample,
    trajectory_spec,
    validate,
    zeros,
)
from .time_step import restart, termination, transition, truncation
from .types import (
    PolicyStep,
    Sample,
    SampleInfo,
    StepType,
    TimeStep,
    Trajectory,
    Transition,
    bootstrap_row,
    join_action_mask,
    make_row,
    split_action_mask,
)
from .validation import validate_environment
from .wrappers import MapObservation, TimeLimit, select_observation

__all__ = [
    "ArraySpec",
    "BoundedSpec",
    "DiscreteSpec",
    "Environment",
    "EnvironmentSpecs",
    "EpisodeState",
    "EpisodicEnvironment",
    "HostEnvironment",
    "JaxEnvironment",
    "MapObservation",
    "PolicyStep",
    "Preprocessor",
    "Sample",
    "SampleInfo",
    "SpecError",
    "StepType",
    "TimeLimit",
    "TimeStep",
    "Trajectory",
    "Transition",
    "atari",
    "bootstrap_row",
    "classic",
    "get_preprocessor",
    "gym",
    "join_action_mask",
    "make_row",
    "probes",
    "reset_batch",
    "restart",
    "sample",
    "select_observation",
    "split_action_mask",
    "step_batch",
    "termination",
    "trajectory_spec",
    "transition",
    "truncation",
    "validate",
    "validate_environment",
    "zeros",
]

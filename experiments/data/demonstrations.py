"""Rows to learn from without acting: an expert's, a trained agent's, or those of a file."""

import os
import zipfile
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ...agents.bc import check_dataset
from ...drivers.driver import Driver
from ...drivers.rollout import rollout, start_rollout
from ...envs.environment import Environment, JaxEnvironment
from ...envs.specs import EnvironmentSpecs, leaf_name, trajectory_spec
from ...envs.types import Array, Trajectory
from ..configs.cloning import CONTROLLER, check_name
from ..trained.agent import TrainedAgent
from .controllers import CONTROLLERS, Controller

_NUM_ENVS = 20


def demonstrations(dataset: str, env: Environment | JaxEnvironment, num_rows: int) -> Trajectory:
    """The rows `[N, 1, ...]` of a data set, checked against an environment's specs.

    Args:
      dataset: "controller" for the play of a rule of ours, which JAX's CartPole and Pendulum have;
        a run folder or a checkpoint for that of its greedy policy; or a `.npz` file of `save_rows`.
      env: Environment to learn for, a host or a JAX one.
      num_rows: Number of rows that an expert makes; those of a file are all read.

    Raises:
      ValueError: if there is no such data set, or its rows do not meet the specs.
    """
    check_name(dataset)
    if dataset == CONTROLLER:
        if type(env) not in CONTROLLERS:
            known = " and ".join(kind.__name__ for kind in CONTROLLERS)
            raise ValueError(
                f"dataset 'controller': there are controllers of {known} alone (runner 'device'), "
                f"not of {env!r}"
            )
        rows = expert_rows(env, CONTROLLERS[type(env)], num_rows)
    elif Path(dataset).suffix == ".npz":
        rows = load_rows(dataset, env.specs)
    else:
        rows = agent_rows(dataset, num_rows)
    rows = rows._replace(policy_info=())
    check_dataset(rows, env.specs)
    return jax.tree.map(lambda x: x.reshape(-1, 1, *x.shape[2:]), rows)


def expert_rows(env: Any, rule: Callable[[Array], Array], num_rows: int) -> Trajectory:
    """Rows `[num_rows, 1, ...]` of a controller's play in a JAX environment.

    Args:
      env: A JAX environment.
      rule: Rule of the controller.
      num_rows: Number of rows, a multiple of 20.
    """
    policy = Controller(rule)
    state = start_rollout(env, policy, jax.random.key(0), jax.random.key(1), _NUM_ENVS)
    play = jax.jit(partial(rollout, env, policy, (), num_rows=num_rows // _NUM_ENVS))
    _, rows = play(state)
    return jax.tree.map(lambda x: x.reshape(-1, 1, *x.shape[2:]), rows)


def agent_rows(path: str | os.PathLike[str], num_rows: int) -> Trajectory:
    """About `num_rows` rows `[T, 20, ...]` of the greedy play of a trained agent.

    Args:
      path: Run folder or checkpoint of the agent.
      num_rows: Number of rows.
    """
    expert = TrainedAgent.load(path)
    seed = expert.evaluation_seed
    rows: list[Trajectory] = []
    keep = lambda row: rows.append(jax.tree.map(np.array, row))
    with closing(expert.make_environment(_NUM_ENVS)) as env:
        driver = Driver(
            env, expert.agent.policy, observers=[keep], key=jax.random.key(seed), seed=seed
        )
        driver.run(num_rows=-(-num_rows // _NUM_ENVS), params=expert.policy_params)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)


def save_rows(path: str | os.PathLike[str], rows: Trajectory) -> Path:
    """Writes rows as a `.npz` file and returns its path.

    The file has an array for each leaf's name; what policies stored with the rows is left out.

    Args:
      path: Path of the file, which ends in .npz.
      rows: Rows `[N, T, ...]`.

    Raises:
      ValueError: if the name does not end in .npz.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"path: expected a name that ends in .npz, got {path}")
    leaves = jax.tree_util.tree_flatten_with_path(rows._replace(policy_info=()))[0]
    with open(path, "wb") as file:
        np.savez_compressed(file, **{leaf_name(name): np.asarray(leaf) for name, leaf in leaves})
    return path


def load_rows(path: str | os.PathLike[str], specs: EnvironmentSpecs) -> Trajectory:
    """Reads the rows `[N, T, ...]` of `save_rows`, or of another such file; nothing is unpickled.

    Args:
      path: Path of the file.
      specs: Specs of the environment, whose leaves the file has.

    Raises:
      ValueError: if the file cannot be read, or lacks a leaf.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: no .npz file that could be read: {error}") from error
    leaves, treedef = jax.tree_util.tree_flatten_with_path(trajectory_spec(specs))
    names = [leaf_name(name) for name, _ in leaves]
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(
            f"{path}: expected arrays called {', '.join(names)}, each [N, T, ...]; "
            f"{', '.join(missing)} missing"
        )
    return jax.tree.unflatten(treedef, [arrays[name] for name in names])

"""Rows to learn from without acting: an expert's play, that of a trained agent, or what a file
holds.
"""

import dataclasses
import os
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...agents.bc import check_dataset
from ...drivers.driver import Driver
from ...drivers.rollout import rollout, start_rollout
from ...envs.classic import CartPole, Pendulum
from ...envs.specs import EnvironmentSpecs, leaf_name, trajectory_spec
from ...envs.types import Array, PolicyStep, TimeStep, Trajectory, Tree
from ...networks.distributions import Deterministic
from ..trained import run_folder

CONTROLLER = "controller"
_NUM_ENVS = 20


@dataclasses.dataclass(frozen=True, eq=False)
class Controller:
    """A policy written down by hand: `rule` maps observations `[..., *shape]` to actions
    `[..., *action_shape]`.
    """

    rule: Callable[[Array], Array]

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        return ()

    def action(
        self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None
    ) -> PolicyStep:
        return PolicyStep(self.rule(time_step.observation), state)

    def distribution(self, params: Tree, time_step: TimeStep, state: Tree = ()) -> PolicyStep:
        return PolicyStep(Deterministic(self.rule(time_step.observation)), state)


def balance_pole(observation: Array) -> Array:
    """CartPole's expert: pushes to where the pole leans and turns, and a little against the cart's
    way.
    """
    return (observation @ jnp.array([0.05, 0.1, 1.0, 0.4]) > 0).astype(jnp.int32)


def swing_up(observation: Array) -> Array:
    """Pendulum's expert: pumps its energy to that of standing upright, and holds it there (Astrom
    and Furuta 2000).

    With g = 10, m = l = 1 the energy above that of standing still upright is speed^2 / 6 + 5 (cos -
    1).
    """
    cosine, sine, speed = (observation[..., i] for i in range(3))
    energy = speed**2 / 6 + 5 * (cosine - 1)
    pump = -2.0 * jnp.sign(energy * speed + 1e-6)
    hold = -(12.0 * jnp.arctan2(sine, cosine) + 3.0 * speed)
    return jnp.clip(jnp.where(cosine > 0.9, hold, pump), -2.0, 2.0)[..., None]


CONTROLLERS: dict[type, Callable[[Array], Array]] = {CartPole: balance_pole, Pendulum: swing_up}


def demonstrations(dataset: str, env: Any, num_rows: int) -> Trajectory:
    """The rows `[N, 1, ...]` of a data set, checked against an environment's specs.

    Args:
      dataset: "controller": what a controller of ours does, which JAX's CartPole and Pendulum have;
        a run folder or a checkpoint: what its greedy policy does; a `.npz` file of `save_rows`.
      env: the environment to learn for, a host or a JAX one.
      num_rows: how many the expert makes; those of a file are all read.

    Raises:
      ValueError: there is no such data set, or its rows do not meet the specs.
    """
    check_name(dataset)
    if dataset == CONTROLLER:
        if type(env) not in CONTROLLERS:
            told = " and ".join(kind.__name__ for kind in CONTROLLERS)
            raise ValueError(
                f"dataset 'controller': there are controllers of {told} alone (runner 'device'), "
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


def check_name(dataset: str) -> None:
    """Raises a ValueError unless a data set is "controller" or a path at which there is
    something.
    """
    if dataset != CONTROLLER and not (dataset and Path(dataset).exists()):
        raise ValueError(
            "config dataset: expected a .npz file of rows, the run folder or a checkpoint of an "
            "expert, or 'controller', got "
            f"{dataset!r}, which is none"
        )


def expert_rows(env: Any, rule: Callable[[Array], Array], num_rows: int) -> Trajectory:
    """`num_rows` rows `[num_rows, 1, ...]` of a controller's play in a JAX environment, a multiple
    of 20.
    """
    state = start_rollout(env, Controller(rule), jax.random.key(0), jax.random.key(1), _NUM_ENVS)
    _, rows = jax.jit(partial(rollout, env, Controller(rule), (), num_rows=num_rows // _NUM_ENVS))(
        state
    )
    return jax.tree.map(lambda x: x.reshape(-1, 1, *x.shape[2:]), rows)


def agent_rows(path: str | os.PathLike[str], num_rows: int) -> Trajectory:
    """About `num_rows` rows `[T, 20, ...]` of a trained agent's greedy play, of a run folder or a
    checkpoint.
    """
    from ..configs.presets import make_config
    from ..training.trainer import Trainer

    folder, step = run_folder.find_run(path)
    params = run_folder.read_params(folder)
    config = make_config(params["run"], params["config"])
    expert = Trainer(
        config,
        params["env"],
        seed=params["seed"],
        run_folder=folder,
        runner=params["runner"],
        replay="host",
    )
    expert.restore(step, acting_only=True)
    env, rows = expert.make_environment(_NUM_ENVS), list[Trajectory]()
    try:
        copied = lambda row: rows.append(jax.tree.map(np.array, row))
        key, seed = jax.random.key(expert.evaluation_seed), expert.evaluation_seed
        driver = Driver(env, expert.agent.policy, observers=[copied], key=key, seed=seed)
        driver.run(num_rows=-(-num_rows // _NUM_ENVS), params=expert.policy_params)
    finally:
        env.close()
        expert.close()
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)


def save_rows(path: str | os.PathLike[str], rows: Trajectory) -> Path:
    """Writes rows `[N, T, ...]` as a `.npz` file, an array for each leaf's name, without what
    policies stored with them.

    Raises:
      ValueError: the name does not end in .npz.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"path: expected a name that ends in .npz, got {path}")
    leaves = jax.tree_util.tree_flatten_with_path(rows._replace(policy_info=()))[0]
    with open(path, "wb") as file:
        np.savez_compressed(file, **{leaf_name(name): np.asarray(leaf) for name, leaf in leaves})
    return path


def load_rows(path: str | os.PathLike[str], specs: EnvironmentSpecs) -> Trajectory:
    """The rows `[N, T, ...]` of `save_rows`, or of any such file; nothing is unpickled.

    Raises:
      ValueError: it cannot be read, or lacks a leaf.
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

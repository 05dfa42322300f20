"""A learner that holds its state: one of a `LearnerGroup`, or alone."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from ..agents.agent import Agent, Shard, TrainState
from ..envs.specs import leaf_name
from ..envs.types import Array, Tree
from .checkpoints import Checkpointer
from .learner import Learner

COMPONENTS = ("params", "target_params", "opt_state", "step", "key", "extra")


class StatefulLearner:
    """An agent, its compiled update, and its state, which comes out and goes in as NumPy.

    Derive from it to do something before or after each update. In a group the hooks run in every
    learner: what they do to `state` must follow from the state and the time steps alone, so that
    the learners stay equal.

    Custom losses are agents: an `init`, and a `train` that hands `shards` on to `apply_loss`.
    Behavioural cloning:

    >>> import dataclasses, optax
    >>> from jax_agents import networks
    >>> from jax_agents.agents.agent import LossInfo, apply_loss, init_state, weighted_mean
    >>> from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs, sample, trajectory_spec, zeros
    >>> @dataclasses.dataclass(frozen=True, eq=False)
    ... class Cloning:
    ...     specs: EnvironmentSpecs
    ...     network: networks.ActorNetwork
    ...     def init(self, key):
    ...         return init_state({"actor": self.network.init(key, zeros(self.specs.observation))}, optax.adam(0.01), key)
    ...     def train(self, state, rows, weights=None, *, shards=None):
    ...         def loss(params, key):
    ...             nll = -self.network.apply(params["actor"], rows.observation).log_prob(rows.action).mean(axis=1)
    ...             return LossInfo(weighted_mean(nll, weights), {}, {"nll": nll})
    ...         return apply_loss(state, loss, optax.adam(0.01), shards=shards)
    >>> specs = EnvironmentSpecs(ArraySpec((3,)), DiscreteSpec(2))
    >>> learner = StatefulLearner(Cloning(specs, networks.ActorNetwork(specs.action, (8,))), key=jax.random.key(0))
    >>> rows = sample(trajectory_spec(specs), jax.random.key(1), (16, 1))
    >>> losses = [learner.update(rows, timesteps={"env_steps": 16 * i})["metrics"]["loss"] for i in range(30)]
    >>> losses[-1] < losses[0]
    True

    Args:
      agent: what to train.
      key: typed key of the first state.
      devices: as for `Learner`.
      method: as for `Learner`.
    """

    def __init__(
        self,
        agent: Agent,
        *,
        key: Array,
        devices: list[Any] | None = None,
        method: Literal["jit", "pmap", "sharded"] = "jit",
    ):
        self.agent = agent
        self.learner = Learner(agent, devices, method)
        self._state = self.learner.init(key)
        self._gradients = jax.jit(partial(_gradients, agent))
        prepare = getattr(agent, "prepare", None)  # off-policy agents have none
        self._prepare = None if prepare is None else jax.jit(prepare)
        self._apply = jax.jit(partial(_apply, agent), donate_argnums=0)
        self._part: tuple = ()

    def before_gradient_based_update(self, timesteps: Mapping[str, int]) -> None:
        """Called before each update; does nothing unless overridden. Set `state` to change it."""

    def after_gradient_based_update(self, timesteps: Mapping[str, int]) -> None:
        """Called after each update; does nothing unless overridden. Set `state` to change it."""

    @property
    def state(self) -> TrainState:
        """The training state: a copy, on the first device."""
        return self.learner.fetch(self._state)

    @state.setter
    def state(self, state: TrainState) -> None:
        self._state = self.learner.place(state)

    def update(
        self, batch: Tree, timesteps: Mapping[str, int], weights: Array | None = None
    ) -> dict[str, Any]:
        """One update on a batch `[B, ...]`: what the agent's `train` takes, of an on-policy agent
        what `prepare` gave.

        Args:
          batch: leaves `[B, ...]`.
          timesteps: how far the run is, by names of your choice (`{"env_steps": 250}`): for the
            hooks, and in the result.
          weights: of the examples, `[B]`.

        Returns:
          `metrics` (floats; `loss` and `grad_norm` among them), `per_example` (arrays `[B]`) and
          `timesteps`.
        """
        self.before_gradient_based_update(timesteps)
        self._state, info = self.learner.train(self._state, batch, weights)
        self.after_gradient_based_update(timesteps)
        return result(info.metrics, jax.device_get(info.per_example), timesteps)

    def prepare(self, experience: Tree) -> Tree:
        """What an on-policy agent's `update` takes, as NumPy, from rows `[B, T + 1, ...]`: the
        agent's own `prepare`.

        What that changes of the state (running statistics, a penalty's coefficient) stays here.

        Raises:
          ValueError: the agent is off-policy: `update` takes its batches as they are.
        """
        if self._prepare is None:
            raise ValueError(
                f"{type(self.agent).__name__} has no prepare: give its batches to update as they "
                "are"
            )
        self.state, examples = self._prepare(self.state, experience)
        return jax.device_get(examples)

    # -- the two halves of an update, for groups

    def gradients(
        self, batch: Tree, timesteps: Mapping[str, int], weights: Array | None, first: int
    ) -> tuple[Tree, Tree]:
        """The first half, on a part of a batch: (gradients, loss, metrics), which are to be
        averaged, and `per_example`.

        Args:
          batch: leaves `[S, ...]`.
          timesteps: as for `update`.
          weights: `[S]`.
          first: the index in the whole batch of the part's first example.
        """
        if self.learner.method != "jit":
            raise ValueError(
                f"a learner of a group uses method 'jit', got {self.learner.method!r}: have more "
                "learners instead"
            )
        self.before_gradient_based_update(timesteps)
        self._part = (batch, weights, np.int32(first))
        return jax.device_get(self._gradients(self._state, *self._part))

    def apply(self, mean: Tree, timesteps: Mapping[str, int]) -> dict[str, Array]:
        """The second half: the update with the mean over all parts of what `gradients` gave;
        returns the metrics.
        """
        part, self._part = self._part, ()
        self._state, metrics = self._apply(self._state, mean, *part)
        self.after_gradient_based_update(timesteps)
        return jax.device_get(metrics)

    # -- state and weights

    def get_state(self, components: str | Sequence[str] | None = None) -> dict[str, Any]:
        """The state's components by name, as NumPy: "params", "target_params", "opt_state", "step",
        "key", "extra".

        Args:
          components: a name or several; None: all.

        Raises:
          ValueError: there is no such component.
        """
        names = (
            COMPONENTS
            if components is None
            else (components,)
            if isinstance(components, str)
            else tuple(components)
        )
        _check_names("state", names, COMPONENTS)
        state = self.state
        return {name: jax.tree.map(_to_numpy, getattr(state, name)) for name in names}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Replaces those components of the state that are given, and no others.

        Raises:
          ValueError: there is no such component, or one of another structure or shape; nothing is
            changed then.
        """
        _check_names("state", state, COMPONENTS)
        current = self.state
        new = {name: _like(getattr(current, name), state[name], name) for name in state}
        self.state = dataclasses.replace(current, **new)

    def get_weights(self, components: str | Sequence[str] | None = None) -> dict[str, Any]:
        """The parameters by role, as NumPy; `components` names roles to give alone ("actor").

        Raises:
          ValueError: there is no such role.
        """
        weights = self.get_state("params")["params"]
        names = (
            tuple(weights)
            if components is None
            else (components,)
            if isinstance(components, str)
            else tuple(components)
        )
        _check_names("weights", names, tuple(weights))
        return {name: weights[name] for name in names}

    def set_weights(self, weights: Mapping[str, Any]) -> None:
        """Replaces the parameters of the roles given, and their targets by copies; the optimizer's
        state stays.

        Args:
          weights: as from `get_weights`.

        Raises:
          ValueError: there is no such role, or one of another structure or shape; nothing is
            changed then.
        """
        state = self.state
        _check_names("weights", weights, tuple(state.params))
        new = {
            role: _like(state.params[role], tree, f"params/{role}")
            for role, tree in weights.items()
        }
        targets = {
            role: jax.tree.map(jnp.copy, tree)
            for role, tree in new.items()
            if role in state.target_params
        }
        self.state = dataclasses.replace(
            state, params={**state.params, **new}, target_params={**state.target_params, **targets}
        )

    def save_to_path(self, path: str | os.PathLike[str]) -> Path:
        """Writes the state as a checkpoint in the folder `path`, in place of what is there; returns
        the folder.
        """
        return save(self.get_state(), path)

    def restore_from_path(self, path: str | os.PathLike[str]) -> None:
        """Reads what `save_to_path` wrote, of a learner or of a group.

        Raises:
          FileNotFoundError: there is nothing in `path`.
          CheckpointError: it is damaged, or of another kind of agent.
        """
        self.set_state(restore(self.get_state(), path))


def result(
    metrics: Mapping[str, Any], per_example: Mapping[str, Any], timesteps: Mapping[str, int]
) -> dict[str, Any]:
    """What an update returns."""
    floats = {name: float(value) for name, value in jax.device_get(dict(metrics)).items()}
    return {"metrics": floats, "per_example": dict(per_example), "timesteps": dict(timesteps)}


def save(state: dict[str, Any], path: str | os.PathLike[str]) -> Path:
    """Writes what `get_state` gave to the folder `path`, whole or not at all; returns the
    folder.
    """
    checkpointer, step = Checkpointer(path, keep=2), int(state["step"])
    checkpointer.save(step, state)
    checkpointer.discard_after(step)  # of a run that was here before
    return checkpointer.folder


def restore(template: dict[str, Any], path: str | os.PathLike[str]) -> dict[str, Any]:
    """What `save` wrote, as NumPy; `template` has its structure."""
    return jax.device_get(Checkpointer(path).restore(template)[0])


def _gradients(
    agent: Agent, state: TrainState, batch: Tree, weights: Array | None, first: Array
) -> tuple[Tree, Tree]:
    given: list[Tree] = []

    def mean(tree: Tree) -> Tree:
        given.append(tree)
        return tree

    _, info = agent.train(state, batch, weights, shards=Shard(mean, first))
    if len(given) != 1:
        raise TypeError(
            f"{type(agent).__name__}.train averaged {len(given)} times over shards, expected "
            "once; hand shards on to "
            "apply_loss"
        )
    return given[0], info.per_example


def _apply(
    agent: Agent, state: TrainState, mean: Tree, batch: Tree, weights: Array | None, first: Array
) -> tuple[TrainState, dict[str, Array]]:
    # The update again, with the mean in place of its own gradient, so that the compiler removes the
    # loss.
    state, info = agent.train(state, batch, weights, shards=Shard(lambda _: mean, first))
    return state, info.metrics


def _check_names(what: str, names: Iterable[str], known: Sequence[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"{what}: no component {unknown}; there are {list(known)}")


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_numpy(leaf: Any) -> np.ndarray:
    return np.array(jax.device_get(jax.random.key_data(leaf) if _is_key(leaf) else leaf))


def _like(template: Tree, values: Tree, component: str) -> Tree:
    treedef: Any
    wanted, treedef = jax.tree_util.tree_flatten_with_path(template)
    given = jax.tree.leaves(values)
    if jax.tree.structure(values) != treedef:
        names = lambda tree: [
            leaf_name(path) for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]
        ]
        raise ValueError(
            f"{component}: expected leaves {names(template)}, got {names(values)}; get_state "
            "gives what fits"
        )
    leaves = []
    for (path, leaf), value in zip(wanted, given, strict=True):
        data = jax.random.key_data(leaf) if _is_key(leaf) else leaf
        if np.shape(value) != data.shape:
            name = leaf_name((jax.tree_util.DictKey(component), *path))
            raise ValueError(
                f"{name}: expected {data.dtype}{list(data.shape)}, got an array "
                f"{list(np.shape(value))}"
            )
        array = jnp.array(value, data.dtype)
        leaves.append(
            jax.random.wrap_key_data(array, impl=jax.random.key_impl(leaf))
            if _is_key(leaf)
            else array
        )
    return treedef.unflatten(leaves)

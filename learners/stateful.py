"""A learner that holds its state, alone or as one of a `LearnerGroup`."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from ..agents.agent import Agent, Shard, TrainState
from ..agents.normalizing import learned, with_learned
from ..envs.types import Array, Tree
from .components import COMPONENTS, check_names, chosen, like, restore, save, to_numpy
from .learner import Learner


class StatefulLearner:
    """An agent, its compiled update, and its state, which is read and set as NumPy.

    Derive from it to do something before or after each update. In a group the hooks run in every
    learner: their changes of `state` must follow from the state and the time steps alone, so that
    the learners stay equal.

    Custom losses are agents: an `init`, and a `train` that hands `shards` on to `apply_loss`.
    Behavioural cloning:

    >>> import dataclasses, optax
    >>> from jax_agents import networks
    >>> from jax_agents.agents.agent import LossInfo, apply_loss, init_state, weighted_mean
    >>> from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs
    >>> from jax_agents.envs.specs import sample, trajectory_spec, zeros
    >>> @dataclasses.dataclass(frozen=True, eq=False)
    ... class Cloning:
    ...     specs: EnvironmentSpecs
    ...     network: networks.ActorNetwork
    ...     def init(self, key):
    ...         params = {"actor": self.network.init(key, zeros(self.specs.observation))}
    ...         return init_state(params, optax.adam(0.01), key)
    ...     def train(self, state, rows, weights=None, *, shards=None):
    ...         def loss(params, key):
    ...             actions = self.network.apply(params["actor"], rows.observation)
    ...             nll = -actions.log_prob(rows.action).mean(axis=1)
    ...             return LossInfo(weighted_mean(nll, weights), {}, {"nll": nll})
    ...         return apply_loss(state, loss, optax.adam(0.01), shards=shards)
    >>> specs = EnvironmentSpecs(ArraySpec((3,)), DiscreteSpec(2))
    >>> agent = Cloning(specs, networks.ActorNetwork(specs.action, (8,)))
    >>> learner = StatefulLearner(agent, key=jax.random.key(0))
    >>> rows = sample(trajectory_spec(specs), jax.random.key(1), (16, 1))
    >>> results = [learner.update(rows, timesteps={"env_steps": 16 * i}) for i in range(30)]
    >>> results[-1]["metrics"]["loss"] < results[0]["metrics"]["loss"]
    True

    Args:
      agent: Agent to train.
      key: Typed key of the first state.
      devices: As for `Learner`.
      method: As for `Learner`.
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
        """Trains once on a batch.

        Args:
          batch: Argument of the agent's `train`, leaves `[B, ...]`; for an on-policy agent the
            result of `prepare`.
          timesteps: Counts of how far the run is, by names of your choice (`{"env_steps": 250}`):
            for the hooks, and in the result.
          weights: Weights of the examples, `[B]`.

        Returns:
          `metrics` (floats; `loss` and `grad_norm` among them), `per_example` (arrays `[B]`) and
          `timesteps`.
        """
        self.before_gradient_based_update(timesteps)
        self._state, info = self.learner.train(self._state, batch, weights)
        self.after_gradient_based_update(timesteps)
        return result(info.metrics, jax.device_get(info.per_example), timesteps)

    def prepare(self, experience: Tree) -> Tree:
        """Makes the batch of an on-policy agent's `update`, as NumPy, by the agent's `prepare`.

        The changes that it makes to the state (running statistics, a penalty's coefficient) stay
        here.

        Args:
          experience: Rows `[B, T + 1, ...]`.

        Raises:
          ValueError: if the agent is off-policy: `update` takes its batches as they are.
        """
        if self._prepare is None:
            raise ValueError(
                f"{type(self.agent).__name__} has no prepare: "
                "give its batches to update as they are"
            )
        self.state, examples = self._prepare(self.state, experience)
        return jax.device_get(examples)

    def gradients(
        self, batch: Tree, timesteps: Mapping[str, int], weights: Array | None, first: int
    ) -> tuple[Tree, Tree]:
        """Computes the first half of an update, on a part of a batch.

        Args:
          batch: Leaves `[S, ...]`.
          timesteps: As for `update`.
          weights: Weights of the examples, `[S]`.
          first: Index in the whole batch of the part's first example.

        Returns:
          (gradients, loss, metrics), which are to be averaged, and `per_example`.

        Raises:
          ValueError: if the learner's method is not "jit".
        """
        if self.learner.method != "jit":
            raise ValueError(
                "a learner of a group uses method 'jit', "
                f"got {self.learner.method!r}: have more learners instead"
            )
        self.before_gradient_based_update(timesteps)
        self._part = (batch, weights, np.int32(first))
        return jax.device_get(self._gradients(self._state, *self._part))

    def apply(self, mean: Tree, timesteps: Mapping[str, int]) -> dict[str, Array]:
        """Makes the second half of an update, and returns the metrics.

        Args:
          mean: Mean over all parts of the results of `gradients`.
          timesteps: As for `update`.
        """
        part = self._part
        self._part = ()
        self._state, metrics = self._apply(self._state, mean, *part)
        self.after_gradient_based_update(timesteps)
        return jax.device_get(metrics)

    def get_state(self, components: str | Sequence[str] | None = None) -> dict[str, Any]:
        """Returns components of the state by name, as NumPy.

        They are "params", "target_params", "opt_state", "step", "key" and "extra".

        Args:
          components: Name or several names; None gives all.

        Raises:
          ValueError: if there is no such component.
        """
        names = chosen("state", components, COMPONENTS)
        state = self.state
        return {name: jax.tree.map(to_numpy, getattr(state, name)) for name in names}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Replaces those components of the state that are given, and no others.

        Args:
          state: Components by name, as from `get_state`.

        Raises:
          ValueError: if there is no such component, or one has another structure or shape; nothing
            is changed then.
        """
        check_names("state", state, COMPONENTS)
        current = self.state
        new = {name: like(getattr(current, name), state[name], name) for name in state}
        self.state = dataclasses.replace(current, **new)

    def get_weights(self, components: str | Sequence[str] | None = None) -> dict[str, Any]:
        """Returns the parameters by role and the normalisers' statistics by name, as NumPy.

        Args:
          components: Role ("actor"), or "observation_statistics" and "return_statistics" where the
            agent has them, or several names; None gives all.

        Raises:
          ValueError: if there is no such component.
        """
        weights = learned(self.state)
        names = chosen("weights", components, tuple(weights))
        return {name: jax.tree.map(to_numpy, weights[name]) for name in names}

    def set_weights(self, weights: Mapping[str, Any]) -> None:
        """Replaces the weights given, and target networks by copies of them.

        The optimizer's state stays.

        Args:
          weights: Entries of what `get_weights` returns.

        Raises:
          ValueError: if there is no such component, or one has another structure or shape; nothing
            is changed then.
        """
        state = self.state
        current = learned(state)
        check_names("weights", weights, tuple(current))
        new = {name: like(current[name], tree, f"params/{name}") for name, tree in weights.items()}
        self.state = with_learned(state, new)

    def policy_params(self) -> Tree:
        """Returns the parameters that the agent's policies need, as NumPy, to send to actors."""
        return jax.device_get(self.agent.policy_params(self.state))

    def save_to_path(self, path: str | os.PathLike[str]) -> Path:
        """Writes the state as a checkpoint in the folder `path`, and returns the folder.

        Args:
          path: Folder; what was there is replaced.
        """
        return save(self.get_state(), path)

    def restore_from_path(self, path: str | os.PathLike[str]) -> None:
        """Reads the state that `save_to_path` of a learner or of a group wrote.

        Args:
          path: Folder.

        Raises:
          FileNotFoundError: if there is nothing in `path`.
          CheckpointError: if it is damaged, or of another kind of agent.
        """
        self.set_state(restore(self.get_state(), path))


def result(
    metrics: Mapping[str, Any], per_example: Mapping[str, Any], timesteps: Mapping[str, int]
) -> dict[str, Any]:
    """Returns the result of an update: floats, arrays `[B]`, and the time steps."""
    floats = {name: float(value) for name, value in jax.device_get(dict(metrics)).items()}
    return {"metrics": floats, "per_example": dict(per_example), "timesteps": dict(timesteps)}


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
            f"{type(agent).__name__}.train averaged {len(given)} times over shards, "
            "expected once; hand shards on to apply_loss"
        )
    return given[0], info.per_example


def _apply(
    agent: Agent, state: TrainState, mean: Tree, batch: Tree, weights: Array | None, first: Array
) -> tuple[TrainState, dict[str, Array]]:
    # The update again, with the mean in place of its own gradient, so that the compiler removes the
    # loss.
    state, info = agent.train(state, batch, weights, shards=Shard(lambda _: mean, first))
    return state, info.metrics

"""`agent.train`, compiled for one device or for several."""

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ..agents.agent import Agent, LossInfo, TrainState
from ..envs.types import Array, Tree

_AXIS = "devices"


class Learner:
    """Compiles an agent's update, donates its state, and splits each batch over devices.

    On several devices each holds the whole state and gets an equal part of the batch; a batch that does not divide is padded
    with examples of weight 0 and the others' weights grow to match, so that the update is that of the whole batch on one
    device. The state that `train` was given is gone: publish parameters for acting first, or from the state returned.

    Args:
      agent: what to train.
      devices: the devices to use; None: all of this process for "pmap" and "sharded", the default one for "jit".
      method: "jit" on one device; "pmap" maps the update over devices and averages gradients; "sharded" lets the compiler
        do so for one program over a batch split by a `NamedSharding`.

    Raises:
      ValueError: for another method, or several devices with "jit".
    """

    def __init__(self, agent: Agent, devices: list[Any] | None = None, method: Literal["jit", "pmap", "sharded"] = "jit"):
        if method not in ("jit", "pmap", "sharded"):
            raise ValueError(f"method: expected 'jit', 'pmap' or 'sharded', got {method!r}")
        default = jax.local_devices()[:1] if method == "jit" else jax.local_devices()
        self.agent = agent
        self.devices = list(devices or default)
        self.method = method
        if method == "jit" and len(self.devices) > 1:
            raise ValueError(f"method 'jit' trains on one device, got {len(self.devices)}; use 'pmap' or 'sharded'")
        mesh = Mesh(np.array(self.devices), (_AXIS,))
        self._whole, self._split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(_AXIS))
        if method == "pmap":
            self._train = jax.pmap(partial(agent.train, axis_name=_AXIS), _AXIS, devices=self.devices, donate_argnums=0)
        else:
            self._train = jax.jit(agent.train, donate_argnums=0)

    def init(self, key: Array) -> TrainState:
        """A fresh state, placed."""
        return self.place(self.agent.init(key))

    def place(self, state: TrainState) -> TrainState:
        """Copies a state to the devices; with "pmap" its leaves get a leading axis of devices."""
        if self.method == "pmap":
            copy = jax.pmap(lambda state, _: state, _AXIS, in_axes=(None, 0), devices=self.devices)  # axis as in training
            return copy(state, np.arange(len(self.devices)))
        return jax.tree.map(jnp.copy, jax.device_put(state, self._whole))

    def fetch(self, state: TrainState) -> TrainState:
        """A copy of a placed state, without an axis of devices, on the first device: to save it, or to act with."""
        if self.method == "pmap":
            state = jax.tree.map(lambda x: x[0], state)
        return jax.device_put(jax.tree.map(jnp.copy, state), self.devices[0])

    def train(self, state: TrainState, experience: Tree, weights: Array | None = None) -> tuple[TrainState, LossInfo]:
        """One update on experience `[B, T, ...]` (or what else the agent's `train` takes, `[B, ...]`), of weights `[B]`.

        Returns:
          The placed state, and a `LossInfo` whose `per_example` leaves are `[B]`.
        """
        size, count = np.shape(jax.tree.leaves(experience)[0])[0], len(self.devices)
        if count == 1 and self.method != "pmap":
            return self._train(state, experience, weights)
        experience, weights = pad_batch(experience, weights, count)
        if self.method == "sharded":
            experience, weights = jax.device_put((experience, weights), self._split)
            state, info = self._train(state, experience, weights)
            return state, info._replace(per_example=jax.tree.map(lambda x: x[:size], info.per_example))
        shards = jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), (experience, weights))
        state, info = self._train(state, *shards)
        loss, metrics = jax.tree.map(lambda x: x[0], (info.loss, info.metrics))
        per_example = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:size], info.per_example)
        return state, LossInfo(loss, metrics, per_example)


def pad_batch(experience: Tree, weights: Array | None, multiple: int) -> tuple[Tree, Array | None]:
    """Pads a batch `[B, ...]` to a multiple, with examples of weight 0.

    Losses divide by the padded size, so the others' weights are scaled by padded size / B: the loss stays what it was.
    """
    size = np.shape(jax.tree.leaves(experience)[0])[0]
    extra = -size % multiple
    if not extra:
        return experience, weights
    scale = (size + extra) / size
    weights = np.ones(size, np.float32) if weights is None else weights
    weights = jnp.concatenate([jnp.asarray(weights) * scale, jnp.zeros(extra, jnp.float32)])
    index = np.minimum(np.arange(size + extra), size - 1)  # any valid example will do
    return jax.tree.map(lambda x: jnp.asarray(x)[index], experience), weights

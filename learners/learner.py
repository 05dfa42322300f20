"""`agent.train`, compiled for one device or for several."""

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ..agents.agent import Agent, LossInfo, TrainState
from ..envs.types import Array, Tree
from .sharding import pad_batch, split_evenly

_AXIS = "devices"


class Learner:
    """An agent's update, compiled, which donates the state and splits each batch over devices.

    On several devices each holds the whole state and gets an equal part of the batch; a batch that
    does not divide is padded with examples of weight 0 and the others' weights grow to match, so
    that the update is that of the whole batch on one device. The state that `train` was given is
    gone: publish parameters for acting first, or from the state returned.

    The devices of "sharded" may belong to several processes (`jax.distributed`). Each of them then
    makes the same calls, each with a part of the batch as large as the others', and all get the
    state after an update on all parts.

    Args:
      agent: Agent to train.
      devices: Devices to use; None uses all of this process for "pmap" and "sharded", the default
        one for "jit".
      method: Way to use them: "jit" on one device; "pmap" maps the update over devices and averages
        gradients; "sharded" lets the compiler do so for one program over a batch split by a
        `NamedSharding`.

    Raises:
      ValueError: if the method is another one, or there are several devices with "jit", or several
        processes without "sharded".
    """

    def __init__(
        self,
        agent: Agent,
        devices: list[Any] | None = None,
        method: Literal["jit", "pmap", "sharded"] = "jit",
    ):
        if method not in ("jit", "pmap", "sharded"):
            raise ValueError(f"method: expected 'jit', 'pmap' or 'sharded', got {method!r}")
        default = jax.local_devices()[:1] if method == "jit" else jax.local_devices()
        self.agent = agent
        self.devices = list(devices or default)
        self.method = method
        if method == "jit" and len(self.devices) > 1:
            raise ValueError(
                f"method 'jit' trains on one device, got {len(self.devices)}; "
                "use 'pmap' or 'sharded'"
            )
        self._own = [
            device for device in self.devices if device.process_index == jax.process_index()
        ]
        self._shared = len(self._own) < len(self.devices)
        if self._shared and (method != "sharded" or not self._own):
            raise ValueError(
                "method 'sharded' alone trains in several processes, each with devices, "
                f"got {method!r}"
            )
        mesh = Mesh(np.array(self.devices), (_AXIS,))
        self._whole = NamedSharding(mesh, PartitionSpec())
        self._split = NamedSharding(mesh, PartitionSpec(_AXIS))
        if method == "pmap":
            self._train = jax.pmap(
                partial(agent.train, shards=_AXIS), _AXIS, devices=self.devices, donate_argnums=0
            )
        else:
            self._train = jax.jit(agent.train, donate_argnums=0)

    def init(self, key: Array) -> TrainState:
        """Returns a fresh state, placed."""
        return self.place(self.agent.init(key))

    def place(self, state: TrainState) -> TrainState:
        """Returns a copy of a state on the devices; "pmap" adds a leading axis of devices."""
        if self.method == "pmap":
            # axis as in training
            copy = jax.pmap(lambda state, _: state, _AXIS, in_axes=(None, 0), devices=self.devices)
            return copy(state, np.arange(len(self.devices)))
        if self._shared:
            return jax.jit(lambda state: state, out_shardings=self._whole)(jax.device_get(state))
        return jax.tree.map(jnp.copy, jax.device_put(state, self._whole))

    def fetch(self, state: TrainState) -> TrainState:
        """Returns a copy of a placed state on the first device, to save or to act with.

        It has no axis of devices.
        """
        if self.method == "pmap":
            state = jax.tree.map(lambda x: x[0], state)
        if self._shared:
            state = jax.tree.map(lambda x: x.addressable_data(0), state)
        return jax.device_put(jax.tree.map(jnp.copy, state), self._own[0])

    def train(
        self, state: TrainState, experience: Tree, weights: Array | None = None
    ) -> tuple[TrainState, LossInfo]:
        """Trains once on a batch.

        Args:
          state: Placed state, which is donated.
          experience: Argument of the agent's `train`, leaves `[B, ...]`.
          weights: Weights of the examples, `[B]`.

        Returns:
          The placed state, and a `LossInfo` whose `per_example` leaves are `[B]`.
        """
        if len(self.devices) == 1 and self.method != "pmap":
            return self._train(state, experience, weights)
        size = np.shape(jax.tree.leaves(experience)[0])[0]
        count = len(self._own)
        experience, weights = pad_batch(experience, weights, count)
        if self.method == "sharded":
            if self._shared:
                whole = lambda part: jax.make_array_from_process_local_data(
                    self._split, np.asarray(part)
                )
                experience, weights = jax.tree.map(whole, (experience, weights))
            else:
                experience, weights = jax.device_put((experience, weights), self._split)
            state, info = self._train(state, experience, weights)
            own = _own_part if self._shared else lambda x: x
            return state, info._replace(
                per_example=jax.tree.map(lambda x: own(x)[:size], info.per_example)
            )
        shards = split_evenly((experience, weights), count)
        state, info = self._train(state, *shards)
        share = jnp.broadcast_to(jnp.asarray(info.share, jnp.float32), (count,))
        loss, metrics, share = jax.tree.map(lambda x: x[0], (info.loss, info.metrics, share))
        per_example = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:size], info.per_example)
        return state, LossInfo(loss, metrics, per_example, share)


def _own_part(x: Array) -> np.ndarray:
    """Returns this process's rows of an array that is split over several."""
    shards = sorted(x.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return np.concatenate([np.asarray(shard.data) for shard in shards])

"""The adapter that makes a host environment of any JAX environment."""

from functools import partial
from typing import Any

import jax
import numpy as np

from . import specs as specs_lib
from .checks import check_specs
from .environment import JaxEnvironment, check_jax_environment, renderer
from .specs import EnvironmentSpecs, SpecError
from .types import Array, TimeStep, Tree


def reset_batch(env: JaxEnvironment, key: Array, num_envs: int | None) -> tuple[Any, TimeStep]:
    """Resets `num_envs` copies of an environment: copy i gets `jax.random.split(key, num_envs)[i]`.

    With `num_envs=None` it is `env.reset(key)`, unbatched. The function is pure: the host adapter
    and the scan both start with it, so that they see the same episodes.
    """
    if num_envs is None:
        return env.reset(key)
    return jax.vmap(env.reset)(jax.random.split(key, num_envs))


def step_batch(
    env: JaxEnvironment, state: Any, action: Tree, num_envs: int | None
) -> tuple[Any, TimeStep]:
    """Takes an action `[*spec]` or `[num_envs, *spec]` in the state that `reset_batch` made."""
    return env.step(state, action) if num_envs is None else jax.vmap(env.step)(state, action)


_reset = jax.jit(reset_batch, static_argnums=(0, 2))
_step = jax.jit(step_batch, static_argnums=(0, 3))


class HostEnvironment:
    """A JAX environment as a host `Environment`, compiled, which returns NumPy arrays.

    `reset(seed)` starts from `reset_batch(env, jax.random.key(seed), num_envs)`. A reset without a
    seed draws the next one from `numpy.random.default_rng(seed).integers(2**31)` of the last seed
    given (the constructor's, to begin with, is used itself).

    Args:
      env: JAX environment.
      num_envs: Number n of copies, for a leading `[n]` axis; None for one without that axis.
      seed: Seed of the first reset, unless that brings its own.

    Raises:
      TypeError: if the environment is not in JAX.
      ValueError: if num_envs < 1.
      SpecError: if the environment's specs are not in order.
    """

    def __init__(self, env: JaxEnvironment, num_envs: int | None = None, seed: int = 0):
        check_jax_environment(env)
        if num_envs is not None and num_envs < 1:
            raise ValueError(f"num_envs: expected None or at least 1, got {num_envs}")
        check_specs(env.specs)
        self.env = env
        self.num_envs = num_envs
        self._seed: int | None = seed
        self._seeds = np.random.default_rng(seed)
        self._state: Any = None
        self._check_action = partial(_check, spec=env.specs.action, num_envs=num_envs)

    @property
    def specs(self) -> EnvironmentSpecs:
        """The environment's specs, without batch axes."""
        return self.env.specs

    @property
    def state(self) -> Any:
        """The JAX state, `[num_envs, ...]` if batched; None before the first reset."""
        return self._state

    def reset(self, seed: int | None = None) -> TimeStep:
        """Starts new episodes, from `seed` if there is one."""
        if seed is not None:
            self._seed = seed
            self._seeds = np.random.default_rng(seed)
        if self._seed is None:
            self._seed = int(self._seeds.integers(2**31))
        key = jax.random.key(self._seed)
        self._seed = None
        self._state, time_step = _reset(self.env, key, self.num_envs)
        return _to_numpy(time_step)

    def step(self, action: Tree) -> TimeStep:
        """Takes an action `[*spec]` or `[n, *spec]`; before any reset, it resets instead.

        Raises:
          SpecError: if the action's structure, shape or dtype is not the spec's.
        """
        if self._state is None:
            return self.reset()
        action = self._check_action(action)
        self._state, time_step = _step(self.env, self._state, action, self.num_envs)
        return _to_numpy(time_step)

    def render(self) -> np.ndarray:
        """Returns a picture of the present state, uint8 `[H, W, 3]`, or `[n, H, W, 3]`.

        Raises:
          NotImplementedError: if the JAX environment has no `render(state)`.
          RuntimeError: before the first reset.
        """
        render = renderer(self.env)
        if self._state is None:
            raise RuntimeError("render: there is no state to picture yet; call reset() first")
        if self.num_envs is None:
            return render(self._state)
        states = [jax.tree.map(lambda x, i=i: x[i], self._state) for i in range(self.num_envs)]
        return np.stack([render(state) for state in states])

    def close(self) -> None:
        """Forgets the state."""
        self._state = None


def _check(action: Tree, spec: Tree, num_envs: int | None) -> Tree:
    """Returns the action in the spec's dtypes.

    Python's numbers and int64 are accepted, since NumPy makes int64 of integers.
    """
    if isinstance(spec, specs_lib.DiscreteSpec) and np.asarray(action).dtype.kind in "iu":
        action = np.asarray(action, spec.dtype)
        if np.any((action < 0) | (action >= np.asarray(spec.num_values))):
            raise SpecError(
                f"action: expected integers in 0..{np.subtract(spec.num_values, 1)}, got {action}; "
                "count actions from 0"
            )
    if getattr(action, "dtype", None) != getattr(spec, "dtype", 0) or action.shape != (
        spec.shape if num_envs is None else (num_envs, *spec.shape)
    ):
        specs_lib.validate(
            {"action": action}, {"action": spec}, batch_ndim=0 if num_envs is None else 1
        )
        sizes = {leaf.shape[:1] for leaf in jax.tree.leaves(action)}
        if num_envs is not None and sizes != {(num_envs,)}:
            raise SpecError(
                f"action: expected a leading axis of {num_envs}, one action per environment, "
                f"got {sorted(sizes)}"
            )
    return action


def _to_numpy(time_step: TimeStep) -> TimeStep:
    # Copies: on a CPU `np.asarray` would be a read-only view of JAX's memory.
    return jax.tree.map(np.array, jax.device_get(time_step))

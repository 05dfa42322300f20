"""Policies that need no parameters: random and scripted."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..envs.specs import BoundedSpec, DiscreteSpec, Spec
from ..envs.types import Array, PolicyStep, TimeStep, Tree, split_action_mask
from ..networks.distributions import Categorical, Deterministic, MultiCategorical, Uniform


@dataclasses.dataclass(frozen=True, eq=False)
class RandomPolicy:
    """Uniformly random actions: allowed ones where actions are discrete, else within the bounds.

    Args:
      action_spec: Spec of the actions, one spec; continuous actions need finite bounds.

    Raises:
      ValueError: for a continuous spec without finite bounds.
    """

    action_spec: Spec

    def __post_init__(self) -> None:
        spec = self.action_spec
        if isinstance(spec, DiscreteSpec):
            return
        if not (
            isinstance(spec, BoundedSpec)
            and np.issubdtype(spec.dtype, np.floating)
            and spec.is_finite
        ):
            raise ValueError(
                "RandomPolicy: expected a discrete spec or one of floats with finite bounds, got "
                f"{spec}; rescale the actions, or make them Discrete or MultiDiscrete"
            )

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        """(): it has no memory."""
        return ()

    def distribution(self, params: Tree, time_step: TimeStep, state: Tree = ()) -> PolicyStep:
        """The uniform distribution over the allowed actions."""
        spec: Any = self.action_spec
        batch = jnp.shape(time_step.step_type)
        if not isinstance(spec, DiscreteSpec):
            low = jnp.broadcast_to(spec.low, batch + spec.shape)
            high = jnp.broadcast_to(spec.high, batch + spec.shape)
            return PolicyStep(Uniform(low, high, len(spec.shape)), state)
        _, mask = split_action_mask(time_step.observation)
        logits = jnp.zeros((*batch, int(np.sum(spec.num_values))), jnp.float32)
        if spec.shape:
            return PolicyStep(MultiCategorical(logits, spec.num_values, mask), state)
        return PolicyStep(Categorical(logits, mask), state)

    def action(
        self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None
    ) -> PolicyStep:
        """Draws an action."""
        step = self.distribution(params, time_step, state)
        return step._replace(action=step.action.sample(key).astype(self.action_spec.dtype))


@dataclasses.dataclass(frozen=True, eq=False)
class ScriptedPolicy:
    """Plays a script: each action a number of times, then the last one for ever.

    Its state counts the actions taken.

    Args:
      script: Pairs (number of times, action).

    Raises:
      ValueError: for an empty script, or a number below 1.

    >>> from jax_agents.envs.types import StepType, TimeStep
    >>> policy = ScriptedPolicy([(2, 1), (1, 0)])
    >>> step = TimeStep(StepType.FIRST, 0.0, 1.0, jnp.zeros(4))
    >>> state = policy.initial_state()
    >>> for _ in range(3):
    ...     action, state, _ = policy.action((), step, state)
    ...     print(int(action))
    1
    1
    0
    """

    script: Sequence[tuple[int, Tree]]

    def __post_init__(self) -> None:
        if not self.script or any(times < 1 for times, _ in self.script):
            raise ValueError(
                f"ScriptedPolicy: expected pairs (times >= 1, action), got {self.script!r}"
            )

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Array:
        """0: no action was taken yet."""
        return jnp.zeros(batch_shape, jnp.int32)

    def action(
        self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None
    ) -> PolicyStep:
        """The next action of the script."""
        actions = [action for times, action in self.script for _ in range(times)]
        table = jax.tree.map(
            lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *actions
        )
        index = jnp.minimum(state, len(actions) - 1)
        return PolicyStep(jax.tree.map(lambda leaf: leaf[index], table), state + 1)

    def distribution(self, params: Tree, time_step: TimeStep, state: Tree = ()) -> PolicyStep:
        """The distribution that is sure of the next action."""
        step = self.action(params, time_step, state)
        return step._replace(action=Deterministic(step.action))

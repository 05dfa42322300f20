"""Rules, planners and people as policies: plain Python, called for each environment by itself."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ..envs.specs import Spec
from ..envs.types import Array, PolicyStep, TimeStep, Tree
from ..networks.distributions import Deterministic


class PythonPolicy:
    """Acts by a function of one observation, which may be any Python.

    It works in drivers, evaluation and videos. In a program on device it is refused, since tracing
    would call the function once and keep its answer.

    Args:
      action_spec: Spec of the actions, which the function's answers are cast to.
      rule: Function from one observation, `[*shape]`, with its action mask if there is one, to one
        action.

    >>> from jax_agents.envs.specs import DiscreteSpec
    >>> from jax_agents.envs.time_step import restart
    >>> policy = PythonPolicy(DiscreteSpec(2), lambda observation: 1 if observation[2] > 0 else 0)
    >>> int(policy.action((), restart(np.array([0.0, 0.0, 0.1, 0.0]))).action)
    1
    """

    def __init__(self, action_spec: Tree, rule: Callable[[Any], Any]):
        self.action_spec = action_spec
        self.rule = rule

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        """(): a rule that remembers keeps its own attributes."""
        return ()

    def action(
        self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None
    ) -> PolicyStep:
        """The rule's action for a time step, or its actions for a batch `[n]` of them."""
        observation = jax.tree.map(np.asarray, time_step.observation)
        if np.ndim(time_step.step_type) == 0:
            return PolicyStep(self._cast(self.rule(observation)), state)
        actions = [
            self._cast(self.rule(jax.tree.map(lambda x, i=i: x[i], observation)))
            for i in range(len(time_step.step_type))
        ]
        return PolicyStep(jax.tree.map(lambda *leaves: np.stack(leaves), *actions), state)

    def distribution(self, params: Tree, time_step: TimeStep, state: Tree = ()) -> PolicyStep:
        """The distribution that is sure of the rule's action."""
        step = self.action(params, time_step, state)
        return step._replace(action=Deterministic(step.action))

    def _cast(self, action: Any) -> Tree:
        def cast(spec: Spec, leaf: Any) -> np.ndarray:
            return np.asarray(leaf, spec.dtype).reshape(spec.shape)

        return jax.tree.map(cast, self.action_spec, action)

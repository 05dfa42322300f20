"""The policy of an agent with its state: actions, values and weights, bound to one object."""

import abc
import contextlib
from collections.abc import Callable
from typing import Any, Self

import jax
import numpy as np

from ...agents.agent import Agent, TrainState
from ...envs.preprocessing import Preprocessor, preprocessor_of
from ...envs.specs import SpecError, validate
from ...envs.types import Array, Tree
from ...networks.summary import tabulate_params
from ...policies.policy import Distribution
from . import introspection
from .weights import get_weights, import_weights, set_weights

_DRAWS = 0x7FFFFFFF  # folded into the run's key: draws of its own


class TrainedPolicy(abc.ABC):
    """The policy of an agent with its state: ask it, or read and replace its weights.

    A subclass says where the state is: a trainer has it in its loop.

    Args:
      agent: The agent.
      env: Environment of the kind that it acts in, whose spaces say how to convert observations.
      seed: Seed of the draws of `compute_action`.

    Attributes:
      agent: The agent.
      seed: The seed.
    """

    agent: Agent
    seed: int

    def __init__(self, agent: Agent, env: Any, seed: int):
        self.agent = agent
        self.seed = seed
        self.preprocessor: Preprocessor | None = preprocessor_of(env)
        self._to_observation, self._to_action = introspection.converters(env)
        self._num_draws = 0

    @property
    @abc.abstractmethod
    def train_state(self) -> TrainState:
        """The agent's state; may be set."""

    @train_state.setter
    @abc.abstractmethod
    def train_state(self, state: TrainState) -> None: ...

    @property
    def policy_params(self) -> Tree:
        """The parameters that the agent's policies need, as `policies.PolicyParams`."""
        return self.agent.policy_params(self.train_state)

    def get_policy(self) -> Self:
        """This object itself, by the name that RLlib has for it."""
        return self

    def compute_action(self, observation: Any, state: Tree = None, *, explore: bool = False) -> Any:
        """Returns the action for one observation, both in the environment's form.

        It is preprocessed and normalised as in training, and acted on as in evaluation.

        Args:
          observation: Observation as the environment returned it, unbatched.
          state: Memory of the policy, for agents that have one; an episode begins with
            `agent.policy.initial_state()`.
          explore: Act with the collect policy, with a new draw for each call.

        Returns:
          The action; with `state` given, a pair of the action and the next state.

        Raises:
          SpecError: if the observation does not fit.
        """
        key = jax.random.fold_in(jax.random.key(self.seed), _DRAWS) if explore else None
        try:
            converted = self._to_observation(observation)
        except SpecError as error:
            raise SpecError(
                f"compute_action was given what the environment does not observe: {error}"
            ) from None
        action, next_state = introspection.compute_action(
            self.agent,
            self.policy_params,
            converted,
            state,
            explore=explore,
            key=key,
            step=self._num_draws,
        )
        self._num_draws += explore
        action = self._to_action(action)
        return action if state is None else (action, next_state)

    def get_weights(self) -> dict[str, Any]:
        """Returns the parameters by role, as NumPy arrays."""
        return get_weights(self.train_state)

    def set_weights(self, weights: Any) -> None:
        """Replaces the parameters; see `weights.set_weights`.

        Actors see them when parameters are next published.
        """
        self._change(set_weights, weights)

    def import_weights(self, source: Any) -> None:
        """Replaces the parameters by those of a file or a tree; see `weights.import_weights`."""
        self._change(import_weights, source)

    def action_distribution(self, observation: Any, *, explore: bool = True) -> Distribution:
        """Returns the distribution over actions, for observations as in `value`.

        See `introspection.action_distribution`.
        """
        return introspection.action_distribution(
            self.agent, self.policy_params, self._batch(observation), explore=explore
        )

    def value(self, observation: Any) -> Array:
        """Returns V(observation), `[...]`; see `introspection.value`.

        This and the methods below take observations `[..., *shape]` as the agent sees them: arrays
        or nested lists, cast to its dtypes. Where the environment's are preprocessed, pass the
        result of `trainer.preprocessor.transform(observation)`.

        Raises:
          SpecError: if they do not meet the agent's spec.
        """
        return introspection.value(self.agent, self.policy_params, self._batch(observation))

    def q_values(self, observation: Any, action: Array | None = None) -> Array:
        """Returns Q-values, for observations as in `value`; see `introspection.q_values`."""
        return introspection.q_values(
            self.agent, self.policy_params, self._batch(observation), action
        )

    def return_distribution(self, observation: Any) -> introspection.ReturnDistribution:
        """Returns the distribution of each action's return, for observations as in `value`.

        See `introspection.return_distribution`.
        """
        return introspection.return_distribution(
            self.agent, self.policy_params, self._batch(observation)
        )

    def dueling_heads(self, observation: Any) -> introspection.DuelingHeads:
        """Returns the parts of dueling values, for observations as in `value`.

        See `introspection.dueling_heads`.
        """
        return introspection.dueling_heads(self.agent, self.policy_params, self._batch(observation))

    def parameter_table(self) -> str:
        """Returns a line for each array of parameters (name, shape, count) and the total."""
        return tabulate_params(self.train_state.params)

    def _batch(self, observation: Any) -> Tree:
        spec = self.agent.specs.observation
        with contextlib.suppress(ValueError, TypeError):  # what is wrong is said below
            observation = jax.tree.map(
                lambda s, x: np.asarray(x).astype(s.dtype, casting="same_kind"), spec, observation
            )
        try:
            validate({"observation": observation}, {"observation": spec}, batch_ndim=None)
        except SpecError as error:
            if self.preprocessor is None:
                raise
            raise SpecError(
                f"{error}. Give what trainer.preprocessor.transform(observation) returns"
            ) from None
        return observation

    def _change(self, how: Callable[[TrainState, Any], TrainState], weights: Any) -> None:
        self.train_state = how(self.train_state, weights)

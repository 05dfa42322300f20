"""Looking inside an agent: actions, distributions, values and their parts, for observations.

Functions of (agent, policy parameters, observations `[..., *shape]`); `TrainedPolicy` binds them.
"""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from ...agents.agent import Agent, TrainState
from ...agents.categorical import CategoricalDqnAgent
from ...agents.quantile import QrDqnAgent
from ...agents.value_based import ValueBasedAgent
from ...envs.gym_spaces import actions, observations
from ...envs.preprocessing import Preprocessor, preprocessor_of
from ...envs.specs import SpecError, validate
from ...envs.time_step import restart, transition
from ...envs.types import Array, TimeStep, Tree, split_action_mask
from ...networks.summary import tabulate_params
from ...policies.policy import Distribution, act
from .weights import get_weights, import_weights, set_weights

_DRAWS = 0x7FFFFFFF  # folded into the run's key: draws of its own


class ReturnDistribution(NamedTuple):
    """The learned distribution of each action's return: `atoms` and their `probabilities`, both
    `[..., num_actions, K]`.
    """

    atoms: Array
    probabilities: Array


class DuelingHeads(NamedTuple):
    """The parts of dueling values: `features` `[..., size]`, `state_value` `[..., 1]` and
    `advantages` `[..., num_actions]`.

    With atoms the last two have an axis of K more.
    """

    features: Array
    state_value: Array
    advantages: Array


def compute_action(
    agent: Agent,
    params: Tree,
    observation: Tree,
    state: Tree = None,
    *,
    explore: bool = False,
    key: Array | None = None,
    step: int = 0,
) -> tuple[Tree, Tree]:
    """The action for one unbatched observation, as NumPy, and the policy's next state.

    It is what evaluation and a driver compute: the same compiled call, the same normalisation.

    Args:
      agent: whose policy acts.
      params: `agent.policy_params(state)`.
      observation: meets `agent.specs.observation`.
      state: the policy's memory; None: an episode begins.
      explore: act with the collect policy.
      key: typed key of its draws.
      step: a number for each draw from the same key.

    Raises:
      SpecError: if the observation does not meet its spec.
      ValueError: if there is no key to explore with.
    """
    if explore and key is None:
        raise ValueError(
            "compute_action: exploring needs a key, got None; pass key=jax.random.key(seed)"
        )
    validate({"observation": observation}, {"observation": agent.specs.observation})
    policy = agent.collect_policy if explore else agent.policy
    # A first time step would make the policy forget.
    time_step = restart(observation) if state is None else transition(np.float32(0.0), observation)
    state = policy.initial_state() if state is None else state
    key = jax.random.key(0) if key is None else key
    step_taken = jax.device_get(act(policy, params, time_step, state, key, np.int32(step)))
    return step_taken.action, step_taken.state


def action_distribution(
    agent: Agent, params: Tree, observation: Tree, *, explore: bool = True
) -> Distribution:
    """The distribution over actions, of batch shape `[...]`.

    It has `sample(key)`, `log_prob(action)`, `mode()` and `entropy()`.

    Args:
      agent: whose policy.
      params: `agent.policy_params(state)`.
      observation: `[..., *shape]`.
      explore: of the collect policy; False: of the policy that is evaluated, usually one sure
        action.

    Raises:
      NotImplementedError: the policy has none (noise added and clipped).
    """
    policy = agent.collect_policy if explore else agent.policy
    time_step = batch_step(agent, observation)
    return policy.distribution(
        params, time_step, policy.initial_state(jnp.shape(time_step.step_type))
    ).action


def value(agent: Any, params: Tree, observation: Tree) -> Array:
    """V(observation), `[...]`.

    Raises:
      TypeError: the agent learns no values.
    """
    return _method(agent, "value")(params, observation)


def q_values(agent: Any, params: Tree, observation: Tree, action: Array | None = None) -> Array:
    """Q-values: `[..., num_actions]`, those of each critic `[num_critics, ..., num_actions]`, or of
    an action `[num_critics, ...]` where actions are continuous.

    Raises:
      TypeError: the agent learns none.
    """
    method = _method(agent, "q_values")
    return method(params, observation) if action is None else method(params, observation, action)


def return_distribution(agent: Any, params: Tree, observation: Tree) -> ReturnDistribution:
    """The distribution of each action's return in C51 and QR-DQN; DQN's is its value, one atom.

    Raises:
      TypeError: the agent is of another family.
    """
    if not isinstance(agent, ValueBasedAgent):
        raise TypeError(
            f"return_distribution: expected DQN, C51 or QR-DQN, got {type(agent).__name__}"
        )
    if not isinstance(agent, CategoricalDqnAgent | QrDqnAgent):
        atoms = agent.q_values(params, observation)[..., None]
        return ReturnDistribution(atoms, jnp.ones_like(atoms))
    outputs = agent.network.apply(params["params"]["q"], split_action_mask(observation)[0])
    if isinstance(agent, QrDqnAgent):
        return ReturnDistribution(outputs, jnp.full_like(outputs, 1 / outputs.shape[-1]))
    atoms = jnp.linspace(agent.v_min, agent.v_max, outputs.shape[-1])
    return ReturnDistribution(jnp.broadcast_to(atoms, outputs.shape), jax.nn.softmax(outputs))


def dueling_heads(agent: Any, params: Tree, observation: Tree) -> DuelingHeads:
    """The features, the state-value head and the advantage head of a dueling `QNetwork`.

    Raises:
      TypeError: the agent's network is no dueling one.
    """
    network: Any = getattr(agent, "network", None)
    if not getattr(network, "dueling", False) or not hasattr(network, "num_atoms"):
        raise TypeError(
            f"dueling_heads: expected a QNetwork(dueling=True), got {type(network).__name__}"
        )
    inputs, _ = split_action_mask(observation)
    _, variables = network.apply(params["params"]["q"], inputs, mutable="intermediates")
    parts = variables["intermediates"]
    return DuelingHeads(*(parts[name][0] for name in DuelingHeads._fields))


def batch_step(agent: Agent, observation: Tree) -> TimeStep:
    """First time steps `[...]` with these observations `[..., *shape]`.

    Raises:
      SpecError: if they do not meet the agent's spec.
    """
    validate(
        {"observation": observation}, {"observation": agent.specs.observation}, batch_ndim=None
    )
    leaf, spec = jax.tree.leaves(observation)[0], jax.tree.leaves(agent.specs.observation)[0]
    return restart(observation, np.shape(leaf)[: np.ndim(leaf) - len(spec.shape)])


def converters(env: Any) -> tuple[Callable[[Any], Tree], Callable[[Tree], Any]]:
    """What makes an observation of ours of one that an environment returned, unbatched, and an
    action for its `step` of ours.

    A gymnasium environment's spaces say how, and its preprocessor if it has one; for others, dtypes
    are cast to the specs'.
    """
    inner, preprocessor = getattr(env, "env", None), preprocessor_of(env)
    for prefix in ("single_", ""):  # of gymnasium's vector environments, and of single ones
        if hasattr(inner, f"{prefix}observation_space"):
            spaces = (getattr(inner, f"{prefix}{kind}_space") for kind in ("observation", "action"))
            convert, to_action = (
                observations(next(spaces), None).convert,
                actions(next(spaces), None).convert,
            )
            return convert if preprocessor is None else preprocessor.convert, to_action
    spec = env.specs.observation
    return lambda observation: jax.tree.map(
        lambda s, x: np.asarray(x, s.dtype), spec, observation
    ), lambda action: action


class TrainedPolicy:
    """The policy of an agent with its state: ask it, or read and replace its weights.

    A subclass may keep the state elsewhere: a trainer has it in its loop.

    Args:
      agent: The agent.
      env: Environment of the kind that it acts in, whose spaces say how to convert observations.
      seed: Seed of the draws of `compute_action`.

    Attributes:
      agent: The agent.
      seed: The seed.
      train_state: The agent's state, a copy; may be set.
    """

    agent: Agent
    seed: int
    train_state: TrainState

    def __init__(self, agent: Agent, env: Any, seed: int):
        self.agent = agent
        self.seed = seed
        self.preprocessor: Preprocessor | None = preprocessor_of(env)
        self._to_observation, self._to_action = converters(env)
        self._num_draws = 0

    @property
    def policy_params(self) -> Tree:
        """The parameters that the agent's policies need, as `policies.PolicyParams`."""
        return self.agent.policy_params(self.train_state)

    def get_policy(self) -> Self:
        """This object itself, by the name that RLlib has for it."""
        return self

    def compute_action(self, observation: Any, state: Tree = None, *, explore: bool = False) -> Any:
        """The action for one observation of the environment, in the form that its `step` takes.

        It is preprocessed and normalised as in training, and acted on as in evaluation.

        Args:
          observation: unbatched.
          state: the policy's memory, for agents that have one: begin an episode with
            `agent.policy.initial_state()`.
          explore: act with the collect policy, with a new draw for each call.

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
        action, next_state = compute_action(
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
        """The parameters by role, as NumPy arrays."""
        return get_weights(self.train_state)

    def set_weights(self, weights: Any) -> None:
        """Replaces the parameters; see `weights.set_weights`. Workers elsewhere see them when they
        are next published to.
        """
        self._change(set_weights, weights)

    def import_weights(self, source: Any) -> None:
        """Replaces the parameters by those of a file or a tree; see `weights.import_weights`."""
        self._change(import_weights, source)

    def action_distribution(self, observation: Any, *, explore: bool = True) -> Distribution:
        """The distribution over actions, for observations as in `value`; see the function."""
        return action_distribution(
            self.agent, self.policy_params, self._batch(observation), explore=explore
        )

    def value(self, observation: Any) -> Array:
        """V(observation), `[...]`; see the function of this name.

        This and the like take observations `[..., *shape]` as the agent sees them: arrays or nested
        lists, cast to its dtypes. Where the environment's are preprocessed, that is what
        `trainer.preprocessor.transform(observation)` gives.

        Raises:
          SpecError: if they do not meet the agent's spec.
        """
        return value(self.agent, self.policy_params, self._batch(observation))

    def q_values(self, observation: Any, action: Array | None = None) -> Array:
        """Q-values; see the function of this name. For observations as in `value`."""
        return q_values(self.agent, self.policy_params, self._batch(observation), action)

    def return_distribution(self, observation: Any) -> ReturnDistribution:
        """Each action's return; see the function of this name. For observations as in `value`."""
        return return_distribution(self.agent, self.policy_params, self._batch(observation))

    def dueling_heads(self, observation: Any) -> DuelingHeads:
        """The parts of dueling values, for observations as in `value`; see the function."""
        return dueling_heads(self.agent, self.policy_params, self._batch(observation))

    def parameter_table(self) -> str:
        """A line for each array of parameters, with its name, shape and count, and the total."""
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


def _method(agent: Any, name: str) -> Any:
    if not hasattr(agent, name):
        raise TypeError(f"{name}: {type(agent).__name__} learns no such values")
    return getattr(agent, name)

"""Looking inside an agent: actions, distributions, values and their parts, for observations.

Functions of (agent, policy parameters, observations `[..., *shape]`); `TrainedPolicy` binds them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...agents.agent import Agent
from ...agents.categorical import CategoricalDqnAgent
from ...agents.quantile import QrDqnAgent
from ...agents.value_based import ValueBasedAgent
from ...envs.gym_spaces import actions, observations
from ...envs.preprocessing import preprocessor_of
from ...envs.specs import validate
from ...envs.time_step import restart, transition
from ...envs.types import Array, TimeStep, Tree, split_action_mask
from ...policies.policy import Distribution, act


class ReturnDistribution(NamedTuple):
    """The learned distribution of each action's return.

    Attributes:
      atoms: Returns, `[..., num_actions, K]`.
      probabilities: Their probabilities, `[..., num_actions, K]`.
    """

    atoms: Array
    probabilities: Array


class DuelingHeads(NamedTuple):
    """The parts of dueling values; with atoms, the heads have one more axis, of K atoms.

    Attributes:
      features: Features that the heads share, `[..., size]`.
      state_value: Value of the state, `[..., 1]`.
      advantages: Advantages of the actions, `[..., num_actions]`.
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
    """Returns the action for one unbatched observation, as NumPy, and the policy's next state.

    It is what evaluation and a driver compute: the same compiled call, the same normalisation.

    Args:
      agent: Agent whose policy acts.
      params: Policy parameters, from `agent.policy_params(state)`.
      observation: Observation that meets `agent.specs.observation`.
      state: Memory of the policy; None where an episode begins.
      explore: Act with the collect policy.
      key: Typed key of the policy's draws.
      step: Number of the draw among those from the same key.

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
    time_step = (
        restart(observation) if state is None else transition(observation, reward=np.float32(0.0))
    )
    state = policy.initial_state() if state is None else state
    key = jax.random.key(0) if key is None else key
    step_taken = jax.device_get(act(policy, params, time_step, state, key, np.int32(step)))
    return step_taken.action, step_taken.state


def action_distribution(
    agent: Agent, params: Tree, observation: Tree, *, explore: bool = True
) -> Distribution:
    """Returns the distribution over actions, of batch shape `[...]`.

    It has `sample(key)`, `log_prob(action)`, `mode()` and `entropy()`.

    Args:
      agent: Agent whose policy is asked.
      params: Policy parameters, from `agent.policy_params(state)`.
      observation: Observations `[..., *shape]`.
      explore: Ask the collect policy; False asks the policy that is evaluated, which usually is
        sure of one action.

    Raises:
      NotImplementedError: if the policy has no distribution (noise is added and clipped).
    """
    policy = agent.collect_policy if explore else agent.policy
    time_step = batch_step(agent, observation)
    return policy.distribution(
        params, time_step, policy.initial_state(jnp.shape(time_step.step_type))
    ).action


def value(agent: Any, params: Tree, observation: Tree) -> Array:
    """Returns V(observation), `[...]`.

    Raises:
      TypeError: if the agent learns no values.
    """
    return _method(agent, "value")(params, observation)


def q_values(agent: Any, params: Tree, observation: Tree, action: Array | None = None) -> Array:
    """Returns Q-values, `[..., num_actions]`, or `[num_critics, ..., num_actions]` with critics.

    With continuous actions they are those of `action`, `[num_critics, ...]`.

    Raises:
      TypeError: if the agent learns none.
    """
    method = _method(agent, "q_values")
    return method(params, observation) if action is None else method(params, observation, action)


def return_distribution(agent: Any, params: Tree, observation: Tree) -> ReturnDistribution:
    """Returns the distribution of each action's return that C51 and QR-DQN learn.

    DQN's is its value, one atom.

    Raises:
      TypeError: if the agent is of another family.
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
    atoms = jnp.linspace(agent.v_min, agent.v_max, outputs.shape[-1], dtype=jnp.float32)
    return ReturnDistribution(jnp.broadcast_to(atoms, outputs.shape), jax.nn.softmax(outputs))


def dueling_heads(agent: Any, params: Tree, observation: Tree) -> DuelingHeads:
    """Returns the features, the state-value head and the advantage head of a dueling `QNetwork`.

    Raises:
      TypeError: if the agent's network is not dueling.
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
    leaf = jax.tree.leaves(observation)[0]
    spec = jax.tree.leaves(agent.specs.observation)[0]
    return restart(observation, batch_shape=np.shape(leaf)[: np.ndim(leaf) - len(spec.shape)])


def converters(env: Any) -> tuple[Callable[[Any], Tree], Callable[[Tree], Any]]:
    """Returns functions that convert observations and actions, one at a time.

    The first makes our observation of one that the environment returned; the second makes an
    action for the environment's `step` of one of ours. A gymnasium environment's spaces, and its
    preprocessor if it has one, say how; for others dtypes are cast to those of the specs.
    """
    inner = getattr(env, "env", None)
    preprocessor = preprocessor_of(env)
    for prefix in ("single_", ""):  # of gymnasium's vector environments, and of single ones
        if hasattr(inner, f"{prefix}observation_space"):
            spaces = (getattr(inner, f"{prefix}{kind}_space") for kind in ("observation", "action"))
            convert = observations(next(spaces), None).convert
            to_action = actions(next(spaces), None).convert
            return convert if preprocessor is None else preprocessor.convert, to_action
    spec = env.specs.observation
    return lambda observation: jax.tree.map(
        lambda s, x: np.asarray(x, s.dtype), spec, observation
    ), lambda action: action


def _method(agent: Any, name: str) -> Any:
    if not hasattr(agent, name):
        raise TypeError(f"{name}: {type(agent).__name__} learns no such values")
    return getattr(agent, name)

"""The protocol of policies, the contract of their parameters, and the call that asks for an action.

A policy that is a frozen dataclass, all of whose fields that are policies are too, is *pure*: it is
compiled once and can be part of a program on device. Any other policy is plain Python: it may keep
attributes and branch with `if`, and it is called for each row, with NumPy.
"""

import dataclasses
import weakref
from typing import Any, Protocol, Required, TypedDict

import jax

from ..envs.checks import check_specs
from ..envs.environment import Environment, check_host_environment
from ..envs.types import Array, PolicyStep, TimeStep, Tree


class PolicyParams(TypedDict, total=False):
    """The parameters of a policy: what `agent.policy_params(state)` returns and actors are sent.

    Wrappers add entries for the policies that they wrap. Policies without parameters take anything.

    Attributes:
      params: Variables of the networks by role, such as `{"q": ...}`.
      step: Number of optimizer updates, int32, which schedules are evaluated at.
      observation_statistics: Statistics that observations are normalised by, if they are.
      epsilon: Probability of a random action, in place of `EpsilonGreedyPolicy`'s own.
      noise_scale: Scale of the noise, in place of that of the noise policies.
      noise: Keys `[...]` of noisy layers, one for each environment; added by `NoisyPolicy`.
      noise_key: Key of the perturbations of a generation, from `EsAgent`.
      version: Number of the parameters, int32, which `VersionedPolicy` stores with rows.
    """

    params: Required[Tree]
    step: Required[Array]
    observation_statistics: Tree
    epsilon: Array
    noise_scale: Array
    noise: Array
    noise_key: Array
    version: Array


class Distribution(Protocol):
    """A distribution over actions with batch shape `[...]`."""

    def sample(self, key: Array) -> Array:
        """Draws an action `[..., *event]`."""

    def log_prob(self, action: Array) -> Array:
        """The log-probability (or density) of an action, `[...]`."""

    def mode(self) -> Array:
        """The most probable action."""

    def entropy(self) -> Array:
        """The entropy in nats, `[...]`."""


class Policy(Protocol):
    """A way to act, without parameters of its own.

    Make it a frozen dataclass (`eq=False`) with pure methods to have it compiled; see this module.
    """

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        """The recurrent state at the start of a stream; `()` for a policy without memory."""

    def action(
        self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None
    ) -> PolicyStep:
        """Chooses the action for a time step with any leading axes.

        Args:
          params: Parameters, `PolicyParams`.
          time_step: Time step `[...]`.
          state: Recurrent state.
          key: Typed random key of the draw for the whole batch; policies that draw nothing take
            None.
        """

    def distribution(self, params: Tree, time_step: TimeStep, state: Tree = ()) -> PolicyStep:
        """A `PolicyStep` with the `Distribution` that `action` draws from in place of an action."""


def act(
    policy: Policy, params: Tree, time_step: TimeStep, state: Tree, key: Array, row: Array
) -> PolicyStep:
    """Asks a policy for an action, as drivers, evaluation and serving do.

    A pure policy is compiled, once for each policy object and batch shape. Folding the row's index
    into the key makes the Python loop, the vectorised loop and the scan draw the same numbers.

    Args:
      policy: Policy to ask.
      params: Parameters, `PolicyParams`.
      time_step: Time step `[...]`.
      state: Recurrent state.
      key: Typed random key of the driver.
      row: Number of the row.
    """
    ask = _act_compiled if is_pure(policy) else _act
    return ask(policy, params, time_step, state, key, row)


def _act(
    policy: Policy, params: Tree, time_step: TimeStep, state: Tree, key: Array, row: Array
) -> PolicyStep:
    return policy.action(params, time_step, state, jax.random.fold_in(key, row))


_act_compiled = jax.jit(_act, static_argnums=0)


_PURE: weakref.WeakSet[Any] = weakref.WeakSet()  # the policies that were found to be


def is_pure(policy: Any) -> bool:
    """True if a policy is a frozen dataclass, and so are all policies among its fields."""
    kind: Any = type(policy)
    settings: Any = getattr(kind, "__dataclass_params__", None)
    if settings is None or not settings.frozen:
        return False
    try:
        if policy in _PURE:
            return True
        parts = (getattr(policy, field.name) for field in dataclasses.fields(kind))
        if not all(is_pure(part) for part in parts if hasattr(part, "initial_state")):
            return False
        _PURE.add(policy)
    except TypeError:  # it has no hash, by which compiled programs are found again
        return False
    return True


def check_pure(policy: Policy) -> None:
    """Checks that a policy may be part of a compiled program.

    Raises:
      TypeError: if it is plain Python, which a program would run once and never again.
    """
    if not is_pure(policy):
        raise TypeError(
            f"{type(policy).__name__} is a policy in plain Python, which cannot act inside a "
            "compiled program; use drivers.Driver or evaluation.compute_avg_return, or make it a "
            "dataclasses.dataclass(frozen=True, eq=False) whose methods are pure functions in JAX"
        )


def check_acting(env: Environment, policy: Policy) -> None:
    """Checks that these are an environment and a policy for drivers and evaluation.

    Raises:
      TypeError: if one is of another kind; the message says how to make one of it.
      SpecError: if the environment's specs are not in order.
    """
    check_host_environment(env)
    check_specs(env.specs)
    if not hasattr(policy, "action") or not hasattr(policy, "initial_state"):
        advice = ""
        if hasattr(policy, "collect_policy"):
            advice = "; pass agent.policy or agent.collect_policy"
        raise TypeError(
            f"expected a policy such as agent.policy, got {type(policy).__name__}{advice}"
        )


def mismatch(env: Environment, policy: Policy, params: Tree, error: Exception) -> str:
    """The message for a policy that raised `error` instead of acting in an environment."""
    given = "the params given"
    if params is None:
        given = "no params; pass params=agent.policy_params(state)"
    elif hasattr(params, "opt_state"):
        given = "a whole TrainState for params; pass params=agent.policy_params(state)"
    observation, action = jax.tree.map(str, (env.specs.observation, env.specs.action))
    return (
        f"{type(policy).__name__} does not act in this environment (observation {observation}, "
        f"action {action}) with {given}. Was it built from these specs? "
        f"{type(error).__name__}: {error}"
    )

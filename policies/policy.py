"""What every policy is, and the one compiled call that asks it for an action."""

from functools import partial
from typing import Any, Protocol

import jax

from ..envs.types import Array, PolicyStep, TimeStep, Tree


class Distribution(Protocol):
    """A distribution over actions with batch shape `[...]`."""

    def sample(self, key: Array) -> Array:
        """Draws an action `[..., *event]`."""

    def log_prob(self, action: Array) -> Array:
        """Log-probability (or density) of an action, `[...]`."""

    def mode(self) -> Array:
        """The most probable action."""

    def entropy(self) -> Array:
        """Entropy in nats, `[...]`."""


class Policy(Protocol):
    """How to act. Holds no parameters; a frozen dataclass (`eq=False`) whose methods are pure."""

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        """The recurrent state at the start of a stream; `()` for a policy without memory."""

    def action(
        self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None
    ) -> PolicyStep:
        """The action for a time step with any leading axes; one key draws for the whole batch."""

    def distribution(self, params: Tree, time_step: TimeStep, state: Tree = ()) -> PolicyStep:
        """A `PolicyStep` whose `action` is the `Distribution` that `action` draws from, with the
        next state.
        """


@partial(jax.jit, static_argnums=0)
def act(
    policy: Policy, params: Tree, time_step: TimeStep, state: Tree, key: Array, row: Array
) -> PolicyStep:
    """The compiled `policy.action` of drivers, evaluation and serving, with the key of row number
    `row`.

    It compiles once per policy object and batch shape. Folding the row's index into the driver's
    key makes the Python loop, the vectorised loop and the scan draw the same numbers.
    """
    return policy.action(params, time_step, state, jax.random.fold_in(key, row))


def check_acting(env: Any, policy: Policy) -> None:
    """Checks that these are an environment and a policy of the kind that drivers and evaluation
    take.

    Raises:
      TypeError: one is not; the message says what makes one of it.
    """
    if not hasattr(env, "num_envs") or not hasattr(env, "specs"):
        advice = "envs.gym.from_gym makes one of a gymnasium environment, envs.HostEnvironment of one in JAX"
        raise TypeError(
            f"expected an environment such as envs.gym.make gives, got {type(env).__name__}; "
            f"{advice}"
        )
    if not hasattr(policy, "action") or not hasattr(policy, "initial_state"):
        advice = (
            "; pass agent.policy or agent.collect_policy"
            if hasattr(policy, "collect_policy")
            else ""
        )
        raise TypeError(
            f"expected a policy such as agent.policy, got {type(policy).__name__}{advice}"
        )


def mismatch(env: Any, policy: Policy, params: Tree, error: Exception) -> str:
    """What to say where a policy raised `error` instead of acting in an environment with these
    parameters.
    """
    given = "the params given"
    if params is None:
        given = "no params; pass params=agent.policy_params(state)"
    elif hasattr(params, "opt_state"):
        given = "a whole TrainState for params; pass params=agent.policy_params(state)"
    shapes = jax.tree.map(str, (env.specs.observation, env.specs.action))
    return (
        f"{type(policy).__name__} does not act in this environment (observation {shapes[0]}, "
        f"action {shapes[1]}) with {given}. "
        f"Was it built from these specs? {type(error).__name__}: {error}"
    )

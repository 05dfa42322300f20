"""Checks of what a loop is made of: its agent and its environment."""

from typing import Any

from ..envs.checks import check_specs
from ..policies.policy import check_pure


def check_loop(agent: Any, env: Any, *, on_policy: bool, on_device: bool) -> None:
    """Checks that an agent and an environment are of the kinds that a loop is for.

    There are four loops: `OffPolicyScan`, `OnPolicyScan`, `OffPolicyLoop` and `OnPolicyLoop`. A
    scan is for environments in JAX, a loop for those on the host.

    Args:
      agent: Agent that was given to the loop.
      env: Environment that was given to it.
      on_policy: True for a loop of on-policy agents.
      on_device: True for a scan.

    Raises:
      TypeError: if another of the four is for them; the message names it. If the collect policy
        is plain Python. On device also for what is no environment; on the host this is left to
        drivers, which explain what makes one.
      SpecError: if the environment's specs are not in order.
    """
    if not hasattr(env, "specs"):
        if on_device:
            raise TypeError(
                "expected an environment in JAX, such as envs.classic.CartPole(), got "
                f"{type(env).__name__}"
            )
        in_jax = False
    else:
        in_jax = not hasattr(env, "num_envs")
    learns_on_policy = hasattr(agent, "prepare")
    given = _name(on_policy, on_device)
    wanted = _name(learns_on_policy, in_jax)
    if given != wanted:
        learns = "from rows of its own policy" if learns_on_policy else "from replay"
        lives = "is in JAX" if in_jax else "is on the host"
        raise TypeError(
            f"{given}: {type(agent).__name__} learns {learns}, and {type(env).__name__} {lives}; "
            f"learners.{wanted} is for them"
        )
    if hasattr(env, "specs"):
        check_specs(env.specs)
    check_pure(agent.collect_policy)  # it acts in one compiled program with the updates


def _name(on_policy: bool, on_device: bool) -> str:
    return f"{'On' if on_policy else 'Off'}Policy{'Scan' if on_device else 'Loop'}"

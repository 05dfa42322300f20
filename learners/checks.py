"""Which of the four loops trains which agent where."""

from typing import Any

_LOOPS = {
    (True, True): "OnPolicyScan",
    (True, False): "OnPolicyLoop",
    (False, True): "OffPolicyScan",
    (False, False): "OffPolicyLoop",
}


def check_loop(agent: Any, env: Any, *, on_policy: bool, on_device: bool) -> None:
    """Raises a TypeError that names the loop to use, where an agent or an environment is of the
    other kind.

    What is no environment of this library is left to drivers, which say what makes one; on device
    it is a TypeError, too.
    """
    if on_device and not hasattr(env, "specs"):
        raise TypeError(
            "expected an environment in JAX, such as envs.classic.CartPole(), got "
            f"{type(env).__name__}"
        )
    in_jax = hasattr(env, "specs") and not hasattr(env, "num_envs")
    kind = hasattr(agent, "prepare"), in_jax if hasattr(env, "specs") else on_device
    if kind != (on_policy, on_device):
        learns = "from rows of its own policy" if kind[0] else "from replay"
        lives = "is in JAX" if kind[1] else "is on the host"
        raise TypeError(
            f"{_LOOPS[on_policy, on_device]}: {type(agent).__name__} learns {learns}, and "
            f"{type(env).__name__} {lives}; "
            f"learners.{_LOOPS[kind]} is for them"
        )

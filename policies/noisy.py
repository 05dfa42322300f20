"""Acting with noisy networks."""

import dataclasses

import jax

from ..envs.types import Array, PolicyStep, TimeStep, Tree
from .wrapper import PolicyWrapper


@dataclasses.dataclass(frozen=True, eq=False)
class NoisyPolicy(PolicyWrapper):
    """Another policy whose network draws new noise in every call, for each environment by itself.

    It passes keys `[...]` as `"noise"` beside the parameters (Fortunato et al. 2018). Without this
    wrapper noisy layers use their mean weights, as they do in `distribution`, which takes no key.
    """

    def action(
        self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None
    ) -> PolicyStep:
        """Chooses an action with fresh noise.

        Raises:
          ValueError: without a key.
        """
        if key is None:
            raise ValueError(
                "NoisyPolicy.action: expected a random key, got None; "
                "agent.policy acts without noise"
            )
        key, noise_key = jax.random.split(key)
        noise = jax.random.split(noise_key, time_step.step_type.shape)
        return self.policy.action({**params, "noise": noise}, time_step, state, key)

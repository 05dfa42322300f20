"""Acting with noisy networks."""

import dataclasses

import jax

from ..envs.types import Array, PolicyStep, TimeStep, Tree
from .policy import Policy


@dataclasses.dataclass(frozen=True, eq=False)
class NoisyPolicy:
    """Another policy whose network's noise is drawn anew at every call, for each environment by
    itself (Fortunato et al. 2018).

    It hands the policy a leaf `"noise"` of keys `[...]` beside its parameters. Without this
    wrapper, noisy layers use their mean weights, as they do in `distribution`, which takes no key.
    """

    policy: Policy

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        return self.policy.initial_state(batch_shape)

    def distribution(self, params: Tree, time_step: TimeStep, state: Tree = ()) -> PolicyStep:
        return self.policy.distribution(params, time_step, state)

    def action(
        self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None
    ) -> PolicyStep:
        if key is None:
            raise ValueError(
                "NoisyPolicy.action: expected a random key, got None; agent.policy acts without "
                "noise"
            )
        key, noise_key = jax.random.split(key)
        noise = jax.random.split(noise_key, time_step.step_type.shape)
        return self.policy.action({**params, "noise": noise}, time_step, state, key)

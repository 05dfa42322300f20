"""Acting with parameters that carry their version."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from ..envs.specs import ArraySpec
from ..envs.types import Array, PolicyStep, TimeStep, Trajectory, Tree
from .wrapper import PolicyWrapper

VERSION = "version"


@dataclasses.dataclass(frozen=True, eq=False)
class VersionedPolicy(PolicyWrapper):
    """Another policy, whose rows store the `"version"` of the parameters that acted, int32 `[...]`.

    It reads the version from the entry `"version"` beside the parameters, where
    `drivers.ParallelDriver(row_versions=True)` puts it. Agents ignore it; a table for such rows has
    the spec `with_version(agent.collect_data_spec)`.

    Args:
      policy: Policy that acts; its info must be a dict, or ().
    """

    def action(
        self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None
    ) -> PolicyStep:
        """The wrapped policy's action, with the version in its info."""
        step = self.policy.action(params, time_step, state, key)
        version = jnp.asarray(params[VERSION], jnp.int32)
        version = jnp.broadcast_to(version, jnp.shape(time_step.step_type))
        return step._replace(info={**(step.info or {}), VERSION: version})


def with_version(spec: Trajectory) -> Trajectory:
    """The spec of rows that store their version, from the spec of rows that do not.

    >>> from jax_agents.envs.specs import DiscreteSpec, EnvironmentSpecs, trajectory_spec
    >>> spec = trajectory_spec(EnvironmentSpecs(ArraySpec((4,)), DiscreteSpec(2)))
    >>> print(with_version(spec).policy_info["version"])
    int32[]
    """
    return spec._replace(policy_info={**(spec.policy_info or {}), VERSION: ArraySpec((), np.int32)})

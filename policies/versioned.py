"""Acting with parameters that say which version they are."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from ..envs.specs import ArraySpec
from ..envs.types import Array, PolicyStep, TimeStep, Trajectory, Tree
from .policy import Policy

VERSION = "version"


@dataclasses.dataclass(frozen=True, eq=False)
class VersionedPolicy:
    """Another policy, whose rows store the `"version"` of the parameters that acted, int32 `[...]`.

    It reads it from a leaf `"version"` beside the parameters, where
    `drivers.ParallelDriver(row_versions=True)` puts it. Agents pass over it; a table for such rows
    has the spec `with_version(agent.collect_data_spec)`.

    Args:
      policy: what acts; its info must be a dict, or ().
    """

    policy: Policy

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Tree:
        return self.policy.initial_state(batch_shape)

    def distribution(self, params: Tree, time_step: TimeStep, state: Tree = ()) -> PolicyStep:
        return self.policy.distribution(params, time_step, state)

    def action(
        self, params: Tree, time_step: TimeStep, state: Tree = (), key: Array | None = None
    ) -> PolicyStep:
        step = self.policy.action(params, time_step, state, key)
        version = jnp.broadcast_to(
            jnp.asarray(params[VERSION], jnp.int32), jnp.shape(time_step.step_type)
        )
        return step._replace(info={**(step.info or {}), VERSION: version})


def with_version(spec: Trajectory) -> Trajectory:
    """The spec of rows that store their version, too, of the spec of one row: for the table that
    they are written to.

    >>> from jax_agents.envs.specs import DiscreteSpec, EnvironmentSpecs, trajectory_spec
    >>> print(with_version(trajectory_spec(EnvironmentSpecs(ArraySpec((4,)), DiscreteSpec(2)))).policy_info["version"])
    int32[]
    """
    return spec._replace(policy_info={**(spec.policy_info or {}), VERSION: ArraySpec((), np.int32)})

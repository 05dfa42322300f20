"""Behavioural cloning: supervised learning of an expert's actions (Pomerleau 1991)."""

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ..envs.checks import check_specs
from ..envs.specs import EnvironmentSpecs, SpecError, trajectory_spec, validate, zeros
from ..envs.types import Array, StepType, Trajectory, Tree, split_action_mask
from ..networks.distributions import Deterministic
from ..policies.actor_policy import ActorPolicy
from ..policies.policy import Policy
from . import losses
from .agent import LossInfo, Optimizer, Shards, TrainState, weighted_mean
from .checks import MISFITS, check_variables, hint
from .off_policy import OffPolicyAgent
from .reductions import learnable, select


@dataclasses.dataclass(frozen=True, eq=False)
class BehavioralCloningAgent(OffPolicyAgent):
    """Maximises the log-probability of the actions in given rows, discrete or continuous.

    It learns from any experience `[B, T, ...]`: batches from replay that holds an expert's rows, of
    any length T. Boundary rows do not count, and rewards are not read. Check a data set once, on
    the host, with `check_dataset`.

    Args:
      specs: Specs of the environment; the action must be one spec.
      network: Network from observations `[..., *shape]`, with their action mask, to a distribution
        with batch shape `[...]`: `networks.ActorNetwork(specs.action)`, or
        `networks.TanhNormalActor` for bounded continuous actions.
      optimizer: An optax transformation.

    Raises:
      TypeError: if `specs` or the optimizer is of another kind.
      ValueError: if the network gives no distribution with a probability for each of the actions.
    """

    specs: EnvironmentSpecs
    network: Any
    optimizer: Optimizer

    roles: ClassVar = ("actor",)

    def check_networks(self) -> None:
        """Raises a ValueError unless the network gives the actions log-probabilities."""
        observation = zeros(self.specs.observation, (2, 3))
        action = zeros(self.specs.action, (2, 3))
        advice = "networks.ActorNetwork(env.specs.action) gives one"
        try:
            variables = jax.eval_shape(self._init_network, jax.random.key(0))
            check_variables(variables)
            distribution = jax.eval_shape(self.network.apply, variables, observation)
            got = jax.eval_shape(lambda d, a: d.log_prob(a), distribution, action).shape
        except MISFITS as error:
            raise ValueError(
                f"network: expected a distribution over actions {self.specs.action} for "
                f"observations {jax.tree.map(str, self.specs.observation)}: {error}; "
                f"{hint(error, advice)}"
            ) from error
        if got != (2, 3):
            raise ValueError(
                "network: expected log-probabilities [2, 3] of actions [2, 3, ...], got "
                f"{list(got)}; {advice}"
            )
        if isinstance(distribution, Deterministic):
            raise ValueError(
                "network: a Deterministic distribution gives other actions no probability "
                f"to learn by; {advice}"
            )

    @property
    def train_sequence_length(self) -> None:
        """None: experience of any length will do."""
        return

    @cached_property
    def collect_policy(self) -> Policy:
        """The learned policy, which draws its actions."""
        return ActorPolicy(self.network, self.specs.action)

    def init_params(self, keys: Sequence[Array]) -> dict[str, Tree]:
        """The first parameters of the network, by role."""
        return {"actor": self._init_network(keys[0])}

    def loss(
        self,
        params: Tree,
        state: TrainState,
        experience: Trajectory,
        key: Array,
        weights: Array | None = None,
        *,
        shards: Shards | None = None,
    ) -> LossInfo:
        """The mean of -log pi(a | o) over rows `[B, T, ...]`, times weights `[B]`.

        `per_example["nll"]` is `[B]`.
        """
        counts = learnable(experience, weights) > 0
        observation, action = select(counts, (experience.observation, experience.action))
        policy = self.network.apply(params["actor"], observation)
        nll = losses.policy_gradient(policy.log_prob(action), 1.0)
        nll = jnp.mean(jnp.where(counts, nll, 0.0), axis=1)
        share = weighted_mean(jnp.mean(learnable(experience), axis=1), weights)
        return LossInfo(weighted_mean(nll, weights), {}, {"nll": nll}, share)

    def train(
        self,
        state: TrainState,
        experience: Trajectory,
        weights: Array | None = None,
        *,
        shards: Shards | None = None,
    ) -> tuple[TrainState, LossInfo]:
        """Takes one gradient step on rows `[B, T, ...]`; see `OffPolicyAgent.train`.

        The policy info that the expert's policy stored with the rows is ignored.
        """
        return super().train(state, experience._replace(policy_info=()), weights, shards=shards)

    def _init_network(self, key: Array) -> Tree:
        return self.network.init(key, zeros(self.specs.observation))


def check_dataset(rows: Trajectory, specs: EnvironmentSpecs) -> None:
    """Checks the rows of a data set, with any leading axes, on the host.

    Their shapes and dtypes must meet the specs, every number must be finite and within its bounds,
    and actions must be allowed by their masks.

    Raises:
      SpecError: if a row does not fit; the message names the part and the offending numbers.
    """
    check_specs(specs)
    rows = jax.tree.map(np.asarray, rows._replace(policy_info=()))
    validate(rows, trajectory_spec(specs), batch_ndim=rows.step_type.ndim, values=True)
    _, mask = split_action_mask(rows.observation)
    if mask is None:
        return
    # The masks of a multi-discrete action's factors are concatenated.
    offsets = np.concatenate([[0], np.cumsum(np.atleast_1d(specs.action.num_values))[:-1]])
    chosen = rows.action.reshape(*rows.step_type.shape, -1) + offsets
    allowed = np.take_along_axis(mask, chosen, axis=-1).all(axis=-1)
    allowed |= rows.step_type == StepType.LAST
    if not allowed.all():
        worst = rows.action[~allowed][:3].tolist()
        raise SpecError(
            f"action: {int((~allowed).sum())} of {allowed.size} are forbidden by their action "
            f"masks: {worst}; leave these rows out"
        )

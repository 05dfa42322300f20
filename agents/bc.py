"""Behavioural cloning: supervised learning of an expert's actions (Pomerleau 1991), discrete or
continuous.
"""

import dataclasses
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..envs.specs import EnvironmentSpecs, SpecError, trajectory_spec, validate, zeros
from ..envs.types import Array, StepType, Trajectory, Tree, split_action_mask
from ..networks.distributions import Deterministic
from ..policies.actor_policy import ActorPolicy
from ..policies.greedy import GreedyPolicy
from ..policies.policy import Policy
from . import losses
from .agent import LossInfo, Optimizer, Shards, TrainState, apply_loss, init_state, weighted_mean
from .checks import check_experience, check_parts
from .describe import describe
from .reductions import learnable


@dataclasses.dataclass(frozen=True, eq=False)
class BehavioralCloningAgent:
    """Maximises the log-probability of the actions in given rows; boundary rows count nothing,
    rewards are not read.

    What it learns from is any experience `[B, T, ...]`: batches from replay that holds an expert's
    rows, of any length T. Check a data set once, on the host, with `check_dataset`.

    Args:
      specs: the environment's; the action is one spec.
      network: maps observations `[..., *shape]`, with their action mask, to a distribution with
        batch shape `[...]`: `networks.ActorNetwork(specs.action)`, or `networks.TanhNormalActor`
        for bounded continuous actions.
      optimizer: an optax transformation.

    Raises:
      TypeError: if `specs`, the optimizer or a function is something else.
      ValueError: if the network gives no distribution with a probability for each of the actions.
    """

    specs: EnvironmentSpecs
    network: Any
    optimizer: Optimizer

    def __post_init__(self):
        check_parts(self)
        observation, action = (
            zeros(self.specs.observation, (2, 3)),
            zeros(self.specs.action, (2, 3)),
        )
        advice = "networks.ActorNetwork(env.specs.action) gives one"
        try:
            variables = jax.eval_shape(
                self.network.init, jax.random.key(0), zeros(self.specs.observation)
            )
            distribution = jax.eval_shape(self.network.apply, variables, observation)
            got = jax.eval_shape(lambda d, a: d.log_prob(a), distribution, action).shape
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"network: expected a distribution over actions {self.specs.action} for "
                "observations "
                f"{jax.tree.map(str, self.specs.observation)}: {error}; {advice}"
            ) from error
        if got != (2, 3):
            raise ValueError(
                "network: expected log-probabilities [2, 3] of actions [2, 3, ...], got "
                f"{list(got)}; {advice}"
            )
        if isinstance(distribution, Deterministic):
            raise ValueError(
                "network: a Deterministic distribution gives other actions no probability to "
                f"learn by; {advice}"
            )

    __str__ = describe

    @property
    def train_sequence_length(self) -> None:
        """Any length will do."""
        return

    @cached_property
    def policy(self) -> Policy:
        return GreedyPolicy(self.collect_policy)

    @cached_property
    def collect_policy(self) -> Policy:
        return ActorPolicy(self.network, self.specs.action)

    @cached_property
    def collect_data_spec(self) -> Trajectory:
        return trajectory_spec(self.specs)

    def init(self, key: Array) -> TrainState:
        network_key, key = jax.random.split(key)
        params = {"actor": self.network.init(network_key, zeros(self.specs.observation))}
        return init_state(params, self.optimizer, key)

    def policy_params(self, state: TrainState) -> Tree:
        return {"params": state.params, "step": state.step}

    def loss(
        self,
        params: Tree,
        state: TrainState,
        experience: Trajectory,
        key: Array,
        weights: Array | None = None,
    ) -> LossInfo:
        """The mean of -log pi(a | o) over rows `[B, T, ...]`, times weights `[B]`;
        `per_example["nll"]` is `[B]`.
        """
        log_prob = self.network.apply(params["actor"], experience.observation).log_prob(
            experience.action
        )
        nll = jnp.mean(losses.policy_gradient(log_prob, 1.0) * learnable(experience), axis=1)
        return LossInfo(weighted_mean(nll, weights), {}, {"nll": nll})

    def train(
        self,
        state: TrainState,
        experience: Trajectory,
        weights: Array | None = None,
        *,
        shards: Shards | None = None,
    ) -> tuple[TrainState, LossInfo]:
        """One gradient step on rows `[B, T, ...]`. What the expert's policy stored with them is not
        looked at.

        Raises:
          ValueError: if the rows have no axes `[B, T]`, or weights are not `[B]`.
          SpecError: if the experience does not meet `collect_data_spec`.
        """
        experience = experience._replace(policy_info=())
        check_experience(experience, self.collect_data_spec, None, weights)
        loss_fn = lambda params, key: self.loss(params, state, experience, key, weights)
        return apply_loss(state, loss_fn, self.optimizer, shards=shards)


def check_dataset(rows: Trajectory, specs: EnvironmentSpecs) -> None:
    """Checks given rows with any leading axes, on the host: shapes, dtypes, and that every number
    is finite and within bounds.

    Raises:
      SpecError: naming what does not meet the specs, with the offending numbers, or actions that
        the rows' masks forbid.
    """
    rows = jax.tree.map(np.asarray, rows._replace(policy_info=()))
    validate(rows, trajectory_spec(specs), batch_ndim=rows.step_type.ndim, values=True)
    _, mask = split_action_mask(rows.observation)
    if mask is None:
        return
    offsets = np.concatenate([[0], np.cumsum(np.atleast_1d(specs.action.num_values))[:-1]])
    chosen = (
        rows.action.reshape(*rows.step_type.shape, -1) + offsets
    )  # multi-discrete: the factors' masks are concatenated
    allowed = np.take_along_axis(mask, chosen, axis=-1).all(axis=-1) | (
        rows.step_type == StepType.LAST
    )
    if not allowed.all():
        worst = rows.action[~allowed][:3].tolist()
        raise SpecError(
            f"action: {int((~allowed).sum())} of {allowed.size} are forbidden by their action "
            f"masks: {worst}; "
            "leave these rows out"
        )

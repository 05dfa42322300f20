"""The base of agents that learn from rows of their own recent policy."""

import abc
import dataclasses
from functools import cached_property, partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ..envs.specs import EnvironmentSpecs, trajectory_spec
from ..envs.types import Array, Trajectory, Tree
from ..networks import recurrent
from ..networks.normalizer import normalize_observation
from ..policies.actor_policy import ActorPolicy, ReturnTrackingPolicy, drawn_actions
from ..policies.greedy import GreedyPolicy
from ..policies.policy import Policy
from ..policies.schedule import Schedule
from . import losses, returns
from .agent import LossInfo, Optimizer, Shards, TrainState, apply_loss, init_state, over_share
from .checks import check_actor_value, check_experience, check_parts, check_weights
from .describe import describe
from .examples import Examples, total
from .normalizing import OBSERVATIONS, first_statistics, normalize_rows
from .reductions import resets, split_bootstrap, trace_lambda
from .step_schedules import OfSteps, count_batch, first_counts, scheduled

ROLE = "actor_value"


@dataclasses.dataclass(frozen=True, eq=False)
class OnPolicyAgent(abc.ABC):
    """An agent that prepares fresh rows once and then trains on parts of them.

    `prepare` turns rows into a batch of examples; `train`, the one update, may be applied to parts
    of it as often as the algorithm allows (`learners.learn` does both). A subclass defines
    `prepare`, and `loss` if it is not the policy gradient.

    With a recurrent network the agent has memory. Its examples are then whole sequences, over which
    the network is unrolled from the carry that acting had at the first row, and reset where an
    episode begins.

    Args:
      specs: Specs of the environment; the action must be one spec.
      network: Network from observations to (distribution over actions, values `[...]`):
        `networks.ActorValueNetwork`. With memory: network from (observations `[..., T, *shape]`,
        resets `[..., T]`, carry) to these and the next carry, with `initial_carry(batch_shape)`:
        `networks.RecurrentActorValueNetwork`.
      optimizer: An optax transformation.
      gamma: Discount factor per step; may be traced.
      value_coefficient: Weight of the values' squared error, which has no half.
      entropy_coefficient: Weight of the entropy bonus; a float, a schedule of the update count, or
        one of environment steps (`OfSteps`).
      normalize_observations: True to normalise observations by their running mean and variance,
        and to clip them to +-10.
      normalize_rewards: True to divide rewards by the running standard deviation of their
        discounted sum, and to clip them to +-10. Values are then in units of normalised rewards.

    Raises:
      TypeError: if `specs`, the optimizer or a function is of another kind.
      ValueError: if the network does not fit the specs, or gamma is outside 0..1.
    """

    specs: EnvironmentSpecs
    network: Any
    optimizer: Optimizer
    _: dataclasses.KW_ONLY
    gamma: float | Array = 0.99
    value_coefficient: float | Array = 0.5
    entropy_coefficient: float | Array | Schedule | OfSteps = 0.0
    normalize_observations: bool = False
    normalize_rewards: bool = False

    prepared: ClassVar[type] = Examples  # the type that `prepare` returns
    needs_value: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_parts(self)
        check_actor_value(type(self).__name__, self.network, self.specs, self.needs_value)

    __str__ = describe

    # -- what a subclass defines

    @abc.abstractmethod
    def prepare(
        self, state: TrainState, experience: Trajectory, *, shards: str | None = None
    ) -> tuple[TrainState, Tree]:
        """Turns fresh rows into a batch of examples.

        Args:
          state: State of the agent.
          experience: Rows `[B, T + 1, ...]`, of which row T only lends its observation.
          shards: Name of the mapped axis of devices, or None.

        Returns:
          The state with its normalisers up to date, and examples `[N, ...]`.

        Raises:
          SpecError: if the rows do not meet `collect_data_spec`.
        """

    def loss(
        self,
        params: Tree,
        state: TrainState,
        experience: Tree,
        key: Array,
        weights: Array | None = None,
        *,
        shards: Shards | None = None,
    ) -> LossInfo:
        """The loss of `params` on examples `[N, ...]` from `prepare`; see `Agent.loss`.

        Unless a subclass defines another, it is the policy gradient's: -log pi(a) x advantage +
        value_coefficient x (V - target)^2 - entropy_coefficient x entropy.
        """
        experience = experience.selected(weights)
        distribution, value = self.apply(params, experience.observation, experience.memory)
        mean = partial(experience.mean, weights=weights)
        log_prob = distribution.log_prob(experience.action)
        policy_loss = mean(losses.policy_gradient(log_prob, experience.advantage))
        value_loss = None
        if value is not None:
            value_loss = mean(losses.squared(value - experience.target))
        entropy = mean(distribution.entropy())
        share = mean(jnp.ones_like(log_prob))
        length = experience.episode_length  # the same number for all that count
        scale = 1.0 if isinstance(length, tuple) else 1.0 / jnp.maximum(length.max(), 1.0)
        return self.total_loss(state, policy_loss, value_loss, entropy, {}, share, scale)

    def initial_extra(self) -> dict[str, Tree]:
        """Other entries of `state.extra` that the algorithm keeps; by default none."""
        return {}

    # -- what they share

    @property
    def train_sequence_length(self) -> None:
        """None: segments of any length will do."""
        return

    @cached_property
    def recurrent(self) -> bool:
        """True if the network has memory."""
        return recurrent.is_recurrent(self.network)

    @cached_property
    def policy(self) -> Policy:
        """The policy to evaluate and to deploy: the greedy one."""
        return GreedyPolicy(self._actor(info=False))

    @cached_property
    def collect_policy(self) -> ActorPolicy | ReturnTrackingPolicy:
        """The policy that gathers experience."""
        policy = self._actor(info=True)
        return ReturnTrackingPolicy(policy, self.gamma) if self.normalize_rewards else policy

    @cached_property
    def collect_data_spec(self) -> Trajectory:
        """The spec of one row of experience."""
        return trajectory_spec(self.specs, self.collect_policy.info_spec)

    def init(self, key: Array) -> TrainState:
        """Returns a fresh state, made from a typed random key."""
        network_key, key = jax.random.split(key)
        params = {ROLE: recurrent.init(self.network, network_key, self.specs.observation)}
        extra = first_statistics(self.specs, self.normalize_observations, self.normalize_rewards)
        extra |= first_counts() | self.initial_extra()
        return init_state(params, self.optimizer, key, extra=extra)

    def policy_params(self, state: TrainState) -> Tree:
        """The parameters that the policies need; see `policies.PolicyParams`."""
        params = {"params": state.params, "step": state.step}
        if self.normalize_observations:
            params[OBSERVATIONS] = state.extra[OBSERVATIONS]
        return params

    def train(
        self,
        state: TrainState,
        experience: Tree,
        weights: Array | None = None,
        *,
        shards: Shards | None = None,
    ) -> tuple[TrainState, LossInfo]:
        """Takes one gradient step on examples `[N, ...]`, all or a part of what `prepare` returned.

        Arguments and results are those of `Agent.train`.

        Raises:
          TypeError: if rows are given that were not prepared.
          ValueError: if the weights are not `[N]`.
        """
        if not isinstance(experience, self.prepared):
            raise TypeError(
                f"train: expected what `prepare` makes of rows, got {type(experience).__name__}; "
                "call state, examples = agent.prepare(state, rows) first, or learners.learn, "
                "which does both"
            )

        check_weights(weights, len(jax.tree.leaves(experience)[0]))

        def loss(params: Tree, key: Array) -> LossInfo:
            return self.loss(params, state, experience, key, weights, shards=shards)

        return apply_loss(state, loss, self.optimizer, shards=shards)

    def value(self, params: Tree, observation: Tree) -> Array:
        """V(observation) `[...]`; `params` are from `policy_params`.

        It is in units of normalised rewards if the agent normalises them. With memory it is the
        value at the first step of an episode.
        """
        observation = normalize_observation(params, observation)
        variables = params["params"][ROLE]
        spec = self.specs.observation
        return recurrent.first_step(self.network, variables, observation, spec)[1]

    # -- for `prepare` and `loss`

    def apply(self, params: Tree, observation: Tree, memory: Tree = ()) -> tuple[Any, Array]:
        """The network's distribution and values `[...]` for normalised observations.

        The values are None if the network gives none.
        """
        outputs = self.network.apply(params[ROLE], observation, *memory)
        outputs = outputs[0] if self.recurrent else outputs
        return outputs if isinstance(outputs, tuple) else (outputs, None)

    def memory(self, rows: Trajectory) -> Tree:
        """The inputs of a recurrent network, other than observations, of rows `[B, T, ...]`.

        They are (resets `[B, T]`, carry at row 0 `[B, ...]`), or () for a network without memory.
        """
        if not self.recurrent:
            return ()
        return resets(rows), jax.tree.map(lambda x: x[:, 0], rows.policy_info["carry"])

    def flatten_time(self, examples: Examples) -> Examples:
        """Flattens examples `[B, T, ...]` to B x T single ones; with memory they stay sequences."""
        if self.recurrent:
            return examples
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), examples)

    def normalized(
        self, state: TrainState, experience: Trajectory, shards: str | None = None
    ) -> tuple[TrainState, Trajectory]:
        """Normalises rows `[B, T + 1, ...]`, and updates the state's normalisers and its count.

        Actions become those that were drawn. Observations and rewards are normalised, if the agent
        normalises them, by statistics that count these rows.

        Raises:
          SpecError: if the rows do not meet `collect_data_spec`.
        """
        check_experience(experience, self.collect_data_spec, None)
        rows = experience._replace(action=drawn_actions(experience))
        num_steps = total(split_bootstrap(rows)[1] > 0, shards).astype(jnp.int32)
        state = dataclasses.replace(state, extra=count_batch(state.extra, num_steps))
        return normalize_rows(state, rows, shards)

    def gae_examples(
        self, params: Tree, rows: Trajectory, lambda_: Array | float, keep_policy: bool = False
    ) -> Examples:
        """Returns examples with generalised advantage estimates (Schulman et al. 2016).

        Estimates bootstrap from the value of the final observation at a time limit, and from the
        value of row T at the end.

        Args:
          params: Parameters by role.
          rows: Normalised rows `[B, T + 1, ...]`.
          lambda_: Decay of the trace.
          keep_policy: True to keep the policy's distributions, in `Examples.distribution`.

        Returns:
          B x T examples, or with memory B sequences.
        """
        distribution, values = self.apply(params, rows.observation, self.memory(rows))
        steps, mask = split_bootstrap(rows)
        discount = self.gamma * steps.discount
        trace = trace_lambda(steps, lambda_)
        advantage = jax.vmap(returns.gae)(steps.reward, discount, trace, values)
        examples = Examples(
            observation=steps.observation,
            action=steps.action,
            log_prob=steps.policy_info["log_prob"],
            advantage=advantage,
            target=advantage + values[:, :-1],
            value=values[:, :-1],
            weight=mask,
            distribution=jax.tree.map(lambda x: x[:, :-1], distribution) if keep_policy else (),
            memory=self.memory(steps),
        )
        return self.flatten_time(examples)

    def total_loss(
        self,
        state: TrainState,
        policy_loss: Array,
        value_loss: Array | None,
        entropy: Array,
        metrics: dict[str, Array],
        share: Array | float = 1.0,
        entropy_scale: Array | float = 1.0,
    ) -> LossInfo:
        """Returns policy_loss + value_coefficient x value_loss - entropy_coefficient x entropy.

        The numbers are means over examples, where those of weight 0 count as 0. The metrics are
        these, divided by the share of the others: means over steps.

        Args:
          state: State of the agent, at which a schedule of the coefficient is evaluated.
          policy_loss: Loss of the policy, a scalar.
          value_loss: Loss of the values, a scalar, or None for a network without values.
          entropy: Mean entropy of the policy, a scalar.
          metrics: Further metrics by name.
          share: The same mean of ones.
          entropy_scale: Factor of the entropy in the loss, but not in the metrics.
        """
        metrics = metrics | {"policy_loss": policy_loss, "entropy": entropy}
        loss = policy_loss
        if value_loss is not None:
            metrics["value_loss"] = value_loss
            loss = loss + self.value_coefficient * value_loss
        coefficient = scheduled(self.entropy_coefficient, state)
        loss = loss - coefficient * (entropy_scale * entropy)
        return LossInfo(loss, over_share(metrics, share), {}, share)

    def _actor(self, info: bool) -> ActorPolicy:
        return ActorPolicy(self.network, self.specs.action, ROLE, info)

"""What on-policy agents share: acting, running normalisers, and the two halves of learning.

`prepare` turns fresh rows into a batch of examples once; `train`, the one update, may then be
applied to parts of that batch as often as the algorithm allows. `learners.OnPolicyScan` does both
on device.
"""

import abc
import dataclasses
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..envs.specs import EnvironmentSpecs, trajectory_spec, zeros
from ..envs.types import Array, StepType, Trajectory, Tree
from ..networks import recurrent
from ..networks.normalizer import (
    init_statistics,
    normalize,
    normalize_observation,
    update_statistics,
)
from ..policies.actor_policy import ActorPolicy, ReturnTrackingPolicy, drawn_actions
from ..policies.greedy import GreedyPolicy
from ..policies.policy import Policy
from ..policies.recurrent import RecurrentActorPolicy
from ..policies.schedule import Schedule
from . import returns
from .agent import (
    LossInfo,
    Optimizer,
    Shard,
    Shards,
    TrainState,
    apply_loss,
    init_state,
    weighted_mean,
)
from .checks import check_experience, check_parts
from .describe import describe
from .reductions import padding, resets, split_bootstrap, trace_lambda

ROLE = "actor_value"


class Examples(NamedTuple):
    """What `prepare` makes of rows: N examples in any order, arrays `[N, ...]`; of a recurrent
    agent, sequences `[N, T, ...]`.

    `observation` is normalised if the agent does that; `action` is the one drawn, `log_prob` its
    log-probability then; `advantage`, `target` (of the value) and `value` (before the updates) are
    estimates; `weight` is 0 for boundary rows; `distribution` is the policy's before the updates,
    for agents that need it; `memory` is what `OnPolicyAgent.memory` says.
    """

    observation: Tree
    action: Array
    log_prob: Array
    advantage: Array
    target: Array
    value: Array
    weight: Array
    distribution: Any = ()
    memory: Tree = ()

    def mean(self, x: Array, weights: Array | None = None) -> Array:
        """The mean over examples of weight x `x`, an array of `weight`'s shape; `weights` `[N]`
        multiply too.
        """
        x = x * self.weight
        return weighted_mean(x if x.ndim == 1 else x.mean(axis=1), weights)


@dataclasses.dataclass(frozen=True, eq=False)
class OnPolicyAgent(abc.ABC):
    """An agent that learns from rows of its own recent policy; derive from this, and write
    `prepare` and `loss`.

    With a recurrent network it remembers. Its examples are then whole sequences, over which the
    network is unrolled from the carry that acting had at the first row, and reset where an episode
    begins.

    Args:
      specs: the environment's; the action must be one spec.
      network: maps observations to (distribution over actions, values `[...]`):
        `networks.ActorValueNetwork`; or with memory maps (observations `[..., T, *shape]`, resets
        `[..., T]`, carry) to these and the next carry, and has `initial_carry(batch_shape)`:
        `networks.RecurrentActorValueNetwork`.
      optimizer: an optax transformation.
      gamma: discount factor per step; may be traced.
      entropy_coefficient: weight of the entropy bonus; a float, or a schedule of the update count.
      normalize_observations: normalise observations by their running mean and variance, and clip to
        +-10.
      normalize_rewards: divide rewards by the running standard deviation of their discounted sum,
        and clip to +-10. Values are then of the normalised rewards.

    Raises:
      TypeError: if `specs`, the optimizer or a function is something else.
      ValueError: if the network does not fit the specs.
    """

    specs: EnvironmentSpecs
    network: Any
    optimizer: Optimizer
    _: dataclasses.KW_ONLY
    gamma: float | Array = 0.99
    entropy_coefficient: float | Array | Schedule = 0.0
    normalize_observations: bool = False
    normalize_rewards: bool = False

    def __post_init__(self):
        check_parts(self)
        check_actor_value(type(self).__name__, self.network, self.specs)

    __str__ = describe

    @property
    def train_sequence_length(self) -> None:
        return None

    @cached_property
    def recurrent(self) -> bool:
        """Whether the network has memory."""
        return recurrent.is_recurrent(self.network)

    @cached_property
    def policy(self) -> Policy:
        return GreedyPolicy(self._actor(info=False))

    @cached_property
    def collect_policy(self) -> ActorPolicy | ReturnTrackingPolicy:
        policy = self._actor(info=True)
        return ReturnTrackingPolicy(policy, self.gamma) if self.normalize_rewards else policy

    @cached_property
    def collect_data_spec(self) -> Trajectory:
        return trajectory_spec(self.specs, self.collect_policy.info_spec)

    def init(self, key: Array) -> TrainState:
        network_key, key = jax.random.split(key)
        params = {ROLE: _init_network(self.network, network_key, self.specs.observation)}
        extra = {}
        if self.normalize_observations:
            extra["observation_statistics"] = init_statistics(self.specs.observation)
        if self.normalize_rewards:
            extra["return_statistics"] = init_statistics(self.specs.reward)
        return init_state(params, self.optimizer, key, extra=extra | self.initial_extra())

    def initial_extra(self) -> dict[str, Tree]:
        """What else the algorithm keeps in `state.extra`."""
        return {}

    def policy_params(self, state: TrainState) -> Tree:
        params = {"params": state.params, "step": state.step}
        if self.normalize_observations:
            params["observation_statistics"] = state.extra["observation_statistics"]
        return params

    def value(self, params: Tree, observation: Tree) -> Array:
        """V(observation) `[...]`, from `policy_params`; in units of the normalised rewards if they
        are.

        With memory: at the first step of an episode.
        """
        observation = normalize_observation(params, observation)
        if not self.recurrent:
            return self.apply(params["params"], observation)[1]
        return recurrent.first_step(
            self.network, params["params"][ROLE], observation, self.specs.observation
        )[1]

    def apply(self, params: Tree, observation: Tree, memory: Tree = ()) -> tuple[Any, Array]:
        """The network's distribution and values `[...]` for (normalised) observations; the latter
        None if it gives none.
        """
        outputs = self.network.apply(params[ROLE], observation, *memory)
        outputs = outputs[0] if self.recurrent else outputs
        return outputs if isinstance(outputs, tuple) else (outputs, None)

    def memory(self, rows: Trajectory) -> Tree:
        """What a recurrent network needs beside the observations of rows `[B, T, ...]`: where it is
        reset, `[B, T]`, and its carry at row 0, `[B, ...]`. () for one without memory."""
        if not self.recurrent:
            return ()
        return resets(rows), jax.tree.map(lambda x: x[:, 0], rows.policy_info["carry"])

    def flatten_time(self, examples: Examples) -> Examples:
        """Examples `[B, T, ...]` as B x T single ones; with memory the sequences that they are."""
        if self.recurrent:
            return examples
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), examples)

    @abc.abstractmethod
    def prepare(
        self, state: TrainState, experience: Trajectory, *, shards: str | None = None
    ) -> tuple[TrainState, Tree]:
        """Rows `[B, T + 1, ...]`, of which row T only lends its observation, as a batch of examples
        `[N, ...]`; and the state with its normalisers up to date."""

    @abc.abstractmethod
    def loss(
        self,
        params: Tree,
        state: TrainState,
        experience: Tree,
        key: Array,
        weights: Array | None = None,
    ) -> LossInfo:
        """The loss of `params` on examples `[N, ...]` from `prepare`; `weights` `[N]` multiply
        their losses.
        """

    def train(
        self,
        state: TrainState,
        experience: Tree,
        weights: Array | None = None,
        *,
        shards: Shards | None = None,
    ) -> tuple[TrainState, LossInfo]:
        """One gradient step on examples `[N, ...]`, all or a part of what `prepare` returned."""
        loss_fn = lambda params, key: self.loss(params, state, experience, key, weights)
        return apply_loss(state, loss_fn, self.optimizer, shards=shards)

    def normalized(
        self, state: TrainState, experience: Trajectory, shards: str | None = None
    ) -> tuple[TrainState, Trajectory]:
        """Rows `[B, T + 1, ...]` with actions as drawn and observations and rewards normalised, by
        statistics that count them.

        Raises:
          SpecError: if the rows do not meet `collect_data_spec`.
        """
        check_experience(experience, self.collect_data_spec, None)
        extra, rows = dict(state.extra), experience._replace(action=drawn_actions(experience))
        steps, _ = split_bootstrap(rows)  # row T comes again, as the next segment's first
        counted = jnp.where(padding(steps), 0.0, 1.0)
        if self.normalize_observations:
            statistics = update_statistics(
                extra["observation_statistics"], steps.observation, counted, axis_name=shards
            )
            rows = rows._replace(observation=normalize(statistics, rows.observation))
            extra["observation_statistics"] = statistics
        if self.normalize_rewards:
            weights = jnp.where(
                steps.step_type == StepType.FIRST, 0.0, counted
            )  # a FIRST row came with no reward
            statistics = update_statistics(
                extra["return_statistics"],
                steps.policy_info["discounted_return"],
                weights,
                axis_name=shards,
            )
            scale = jax.lax.rsqrt(statistics.variance + 1e-8)
            rows = rows._replace(reward=jnp.clip(rows.reward * scale, -10.0, 10.0))
            extra["return_statistics"] = statistics
        return dataclasses.replace(state, extra=extra), rows

    def _actor(self, info: bool) -> ActorPolicy:
        kind = RecurrentActorPolicy if self.recurrent else ActorPolicy
        return kind(self.network, self.specs.action, ROLE, info)


def estimate(
    agent: OnPolicyAgent, params: Tree, rows: Trajectory, lambda_: Array | float, old: bool = False
) -> Examples:
    """Examples with generalised advantage estimates from normalised rows `[B, T + 1, ...]`, B x T
    of them or B sequences.

    Estimates bootstrap from the value of the final observation at a time limit, and from that of
    row T at the end. With `old` the policy's distributions are kept too.
    """
    distribution, values = agent.apply(params, rows.observation, agent.memory(rows))
    steps, mask = split_bootstrap(rows)
    discount = agent.gamma * steps.discount
    advantage = jax.vmap(returns.gae)(steps.reward, discount, trace_lambda(steps, lambda_), values)
    kept = jax.tree.map(lambda x: x[:, :-1], distribution) if old else ()
    examples = Examples(
        observation=steps.observation,
        action=steps.action,
        log_prob=steps.policy_info["log_prob"],
        advantage=advantage,
        target=advantage + values[:, :-1],
        value=values[:, :-1],
        weight=mask,
        distribution=kept,
        memory=agent.memory(steps),
    )
    return agent.flatten_time(examples)


def standardize(x: Array, weight: Array, shards: Shards | None = None) -> Array:
    """(x - mean) / standard deviation over those elements of `x` whose weight is not 0, on all
    devices.
    """
    counted = jnp.where(weight > 0, 1.0, 0.0)
    count = jnp.maximum(total(counted, shards), 1.0)
    mean = total(counted * x, shards) / count
    variance = total(counted * jnp.square(x - mean), shards) / count
    return (x - mean) / (jnp.sqrt(variance) + 1e-8)


def total(x: Array, shards: Shards | None = None) -> Array:
    """The sum of an array's elements, on all devices.

    Raises:
      ValueError: for a `Shard`, whose gradients alone are averaged.
    """
    if isinstance(shards, Shard):
        raise ValueError(
            "an update that normalises over its batch cannot be split over the learners of a "
            "group: normalise the whole batch "
            "beforehand (PpoAgent(advantages='batch') does so in prepare)"
        )
    return jnp.sum(x) if shards is None else jax.lax.psum(jnp.sum(x), shards)


def check_prepared(experience: Tree) -> None:
    """Raises a TypeError where `Examples` are learned from, and rows are given."""
    if not isinstance(experience, Examples):
        raise TypeError(
            f"train: expected what `prepare` makes of rows, got {type(experience).__name__}; call "
            "state, examples = agent.prepare(state, rows) first, or learners.learn, which does both"
        )


def check_actor_value(
    owner: str, network: Any, specs: EnvironmentSpecs, value: bool = True
) -> None:
    """Raises a ValueError unless a network maps observations `[2, 3, ...]` to (distribution over
    actions, values `[2, 3]`).
    """
    spec, batch = specs.observation, zeros(specs.observation, (2, 3))
    advice = (
        "networks.ActorValueNetwork(ActorNetwork(env.specs.action), ValueNetwork()) is one (with "
        "memory: "
        "RecurrentActorValueNetwork); for images give both an encoder"
    )

    def call(key: Array) -> Any:
        variables = _init_network(network, key, spec)
        if recurrent.is_recurrent(network):
            return recurrent.first_step(network, variables, batch, spec)
        return network.apply(variables, batch)

    try:
        outputs = jax.eval_shape(call, jax.random.key(0))
        distribution, values = outputs if isinstance(outputs, tuple) else (outputs, None)
        action = jax.eval_shape(lambda d: d.mode(), distribution)
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{owner}: network cannot take observations {jax.tree.map(str, specs.observation)}: "
            f"{error}; {advice}"
        ) from error
    if action.shape != (2, 3, *specs.action.shape) or (
        value and (values is None or values.shape != (2, 3))
    ):
        got = None if values is None else list(values.shape)
        raise ValueError(
            f"{owner}: expected a network that gives a distribution over actions "
            f"{[2, 3, *specs.action.shape]} and values "
            f"[2, 3] for observations [2, 3, ...], got actions {list(action.shape)} and values "
            f"{got}; {advice}"
        )


def _init_network(network: Any, key: Array, spec: Tree) -> Tree:
    return (
        recurrent.init(network, key, spec)
        if recurrent.is_recurrent(network)
        else network.init(key, zeros(spec))
    )

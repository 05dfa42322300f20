"""Evolution strategies (Salimans et al. 2017): learning from the returns of whole episodes."""

import dataclasses
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from ..envs.specs import EnvironmentSpecs, zeros
from ..envs.types import Array, Tree
from ..networks.normalizer import RunningStatistics, merge_statistics
from ..policies.actor_policy import ActorPolicy
from ..policies.greedy import GreedyPolicy
from ..policies.policy import Policy
from ..policies.schedule import Schedule, value_at
from .agent import LossInfo, Optimizer, TrainState, apply_loss, init_state
from .checks import check_network, check_parts
from .describe import describe
from .normalizing import OBSERVATIONS, first_statistics


@dataclasses.dataclass(frozen=True, eq=False)
class EsAgent:
    """Moves its parameters towards those of perturbed copies of itself that earned more.

    A generation is `ask`, episodes with the greedy policy of each of the P members, and `tell`:

        members = agent.ask(state)                # policy parameters [P, ...]
        state, info = agent.tell(state, fitness)  # mean returns [P]

    Members 2k and 2k + 1 are mirror images, theta + sigma noise_k and theta - sigma noise_k. The
    step is along the sum of noise x fitness / (P sigma), with the centred rank of each fitness in
    its place. `learners.EvolutionScan` does all of it on device.

    A member is a function of `policy_params(state)` and its index alone, `member(params, index)`:
    send actors the former once a generation, and only indices and fitness have to travel.

    Args:
      specs: Specs of the environment; the action must be one spec.
      network: Network from observations `[..., *shape]`, with their action mask, to a distribution
        whose mode is the action, such as `networks.ActorNetwork` or `networks.DeterministicActor`.
        (Its standard deviation is ignored.)
      optimizer: An optax transformation; weight decay, as in the paper, is
        `optax.chain(optax.add_decayed_weights(...), ...)`.
      population_size: Number P of members of a generation; even.
      sigma: Standard deviation of the perturbations; a float, or a schedule of the number of
        generations.
      normalize_observations: True to normalise observations by their mean and variance, and to clip
        them to +-10; `tell` needs the statistics that the members gathered.

    Raises:
      TypeError: if `specs`, the optimizer or a function is of another kind.
      ValueError: if the network does not fit the specs, or the population is not an even number of
        at least 2.
    """

    specs: EnvironmentSpecs
    network: Any
    optimizer: Optimizer
    population_size: int = 100
    sigma: float | Array | Schedule = 0.05
    normalize_observations: bool = False

    def __post_init__(self) -> None:
        check_parts(self)
        if self.population_size < 2 or self.population_size % 2:
            raise ValueError(
                "EsAgent: expected an even population_size of at least 2, got "
                f"{self.population_size}; members come in pairs"
            )
        check_network("network", self.network, (self.specs.observation,), self.specs.action.shape)

    __str__ = describe

    @cached_property
    def policy(self) -> Policy:
        """The greedy policy."""
        return GreedyPolicy(ActorPolicy(self.network, self.specs.action))

    @property
    def collect_policy(self) -> Policy:
        """The greedy policy: members explore by their parameters, not by their actions."""
        return self.policy

    def init(self, key: Array) -> TrainState:
        """Returns a fresh state, made from a typed random key."""
        network_key, key = jax.random.split(key)
        params = {"actor": self.network.init(network_key, zeros(self.specs.observation))}
        extra = first_statistics(self.specs, self.normalize_observations, rewards=False)
        return init_state(params, self.optimizer, key, extra=extra)

    def policy_params(self, state: TrainState) -> Tree:
        """The parameters that the policy needs; see `policies.PolicyParams`.

        `"noise_key"` is the key of the generation's perturbations.
        """
        noise_key = jax.random.split(state.key)[1]
        params = {"params": state.params, "step": state.step, "noise_key": noise_key}
        return params | state.extra

    def member(self, params: Tree, index: Array) -> Tree:
        """The policy parameters of one member.

        Args:
          params: Result of `policy_params`.
          index: Index of the member, an integer from 0 to P - 1.
        """
        sign = jnp.where(index % 2 == 0, 1.0, -1.0) * value_at(self.sigma, params["step"])
        noise = _noise(params["params"], params["noise_key"], index // 2)
        perturbed = jax.tree.map(
            lambda x, noise: (x + sign * noise).astype(x.dtype), params["params"], noise
        )
        return {**params, "params": perturbed}

    def ask(self, state: TrainState) -> Tree:
        """The policy parameters of all members: leaves `[P, ...]`."""
        return jax.vmap(self.member, in_axes=(None, 0))(
            self.policy_params(state), jnp.arange(self.population_size)
        )

    def tell(
        self, state: TrainState, fitness: Array, statistics: RunningStatistics | None = None
    ) -> tuple[TrainState, LossInfo]:
        """Takes one step by what the members have earned, and so begins a new generation.

        Args:
          state: State that `ask` was given.
          fitness: Fitness `[P]`, greater is better; NaN (a member that was lost) is below all.
          statistics: Statistics of the observations that the members saw, leaves `[n, ...]` from n
            sources, merged here (`networks.update_statistics` makes them); needed if observations
            are normalised.

        Raises:
          ValueError: if the fitness is not `[P]`, or statistics are missing or superfluous.
        """
        if jnp.shape(fitness) != (self.population_size,):
            raise ValueError(
                f"fitness: expected one number for each member, {[self.population_size]}, got "
                f"{list(jnp.shape(fitness))}"
            )
        if (statistics is not None) != self.normalize_observations:
            got = "none" if statistics is None else "some"
            raise ValueError(
                f"statistics: got {got}, but normalize_observations={self.normalize_observations}"
            )
        loss = lambda params, key: self.loss(params, state, fitness, key)
        new_state, info = apply_loss(state, loss, self.optimizer)
        if statistics is None:
            return new_state, info
        old = state.extra[OBSERVATIONS]
        joined = jax.tree.map(lambda x, y: jnp.concatenate([x[None], y]), old, statistics)
        extra = {**state.extra, OBSERVATIONS: merge_statistics(joined)}
        return dataclasses.replace(new_state, extra=extra), info

    def loss(self, params: Tree, state: TrainState, fitness: Array, key: Array) -> LossInfo:
        """Minus the mean fitness of the members of `state` whose fitness, of `[P]`, is not NaN.

        Its gradient is the estimate that the class describes.
        """
        ranks = centred_ranks(fitness)
        sigma = value_at(self.sigma, state.step)
        noise = jax.vmap(lambda pair: _noise(params, key, pair))(
            jnp.arange(self.population_size // 2)
        )
        noise = jax.lax.stop_gradient(noise)
        weights = (ranks[0::2] - ranks[1::2]) / (self.population_size * sigma)
        along = jax.tree.map(
            lambda x, n: jnp.vdot(x, jnp.tensordot(weights, n, axes=1)), params, noise
        )
        along = jax.tree.reduce(jnp.add, along)
        metrics = {"best_fitness": jnp.nanmax(fitness), "sigma": jnp.asarray(sigma, jnp.float32)}
        return LossInfo(jax.lax.stop_gradient(along) - along - jnp.nanmean(fitness), metrics, {})


def centred_ranks(fitness: Array) -> Array:
    """Returns the ranks `[P]` of fitness `[P]`, from -0.5 (the least) to 0.5 (the greatest).

    Equal members share the mean of their ranks, and NaN is below everything.
    """
    fitness = jnp.where(jnp.isnan(fitness), -jnp.inf, fitness)
    ordered = jnp.sort(fitness)
    below = jnp.searchsorted(ordered, fitness, "left")
    up_to = jnp.searchsorted(ordered, fitness, "right")
    return (below + up_to - 1).astype(jnp.float32) / 2 / (fitness.size - 1) - 0.5


def _noise(params: Tree, key: Array, pair: Array) -> Tree:
    """Draws standard normal numbers like the parameters, for one pair of members."""
    treedef: Any
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.fold_in(key, pair), len(leaves))
    return treedef.unflatten(
        [jax.random.normal(key, x.shape, x.dtype) for key, x in zip(keys, leaves, strict=True)]
    )

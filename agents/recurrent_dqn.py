"""Recurrent DQN: Q-learning with memory from replayed sequences (Hausknecht and Stone 2015;
Kapturowski et al. 2019, R2D2).
"""

import dataclasses
from collections.abc import Callable
from functools import cached_property

import jax
import jax.numpy as jnp

from ..envs.specs import trajectory_spec, zeros
from ..envs.types import Array, Trajectory, Tree, split_action_mask
from ..networks import recurrent
from ..policies.greedy import EpsilonGreedyPolicy
from ..policies.policy import Policy
from ..policies.recurrent import RecurrentQPolicy
from . import losses
from .agent import LossInfo, TrainState, weighted_mean
from .reductions import resets, to_transition
from .value_based import ValueBasedAgent


@dataclasses.dataclass(frozen=True, eq=False)
class RecurrentDqnAgent(ValueBasedAgent):
    """Learns action values that remember, from sequences of burn_in + sequence_length + n_step
    rows.

    The networks are unrolled over a sequence from its first row. The first `burn_in` rows only warm
    up the carry, which then goes on without gradient; each of the next `sequence_length` rows is
    learned from, by the n-step target of `DqnAgent`; the last `n_step` only bootstrap. Sequences
    may span episodes: the carry is reset where one begins, and boundary rows count nothing. A
    sequence's loss is the mean over its rows; its priority, `per_example["td_error"]`, is 0.9 max +
    0.1 mean of the absolute TD errors (Kapturowski et al. 2019, section 2.3).

    Args:
      specs, optimizer, gamma, n_step, double, epsilon, target_update, td_loss: as in `DqnAgent`.
      network: called as (observations `[..., T, *shape]`, resets `[..., T]`, carry), gives (values
        `[..., T, num_actions]`, carry), and has `initial_carry(batch_shape)`:
        `networks.RecurrentQNetwork`.
      sequence_length: rows of a sequence that are learned from.
      burn_in: rows before them.
      stored_carry: start with the carry that acting had, which is then stored with each row (warm
        up with `agent.collect_policy`, since other policies have none); otherwise with zeros.

    Raises:
      ValueError: as `DqnAgent`, and if sequence_length < 1 or burn_in < 0.
    """

    td_loss: Callable[[Array], Array] = losses.huber
    sequence_length: int = 20
    burn_in: int = 0
    stored_carry: bool = True

    def __post_init__(self):
        super().__post_init__()
        if self.sequence_length < 1 or self.burn_in < 0:
            raise ValueError(
                "RecurrentDqnAgent: expected sequence_length >= 1 and burn_in >= 0, got "
                f"sequence_length={self.sequence_length} and burn_in={self.burn_in}"
            )

    def example_loss(
        self,
        outputs_tm1: Array,
        a_tm1: Array,
        r_t: Array,
        discount_t: Array,
        outputs_t: Array,
        q_t_selector: Array,
        mask_t: Array | None,
    ) -> tuple[Array, Array]:
        td_error = losses.double_q_learning(
            outputs_tm1, a_tm1, r_t, discount_t, outputs_t, q_t_selector, mask_t
        )
        return self.td_loss(td_error), td_error

    @property
    def train_sequence_length(self) -> int:
        return self.burn_in + self.sequence_length + self.n_step

    @cached_property
    def collect_policy(self) -> Policy:
        return EpsilonGreedyPolicy(
            RecurrentQPolicy(self.network, store_carry=self.stored_carry), self.epsilon
        )

    @cached_property
    def collect_data_spec(self) -> Trajectory:
        if not self.stored_carry:
            return trajectory_spec(self.specs)
        return trajectory_spec(self.specs, {"carry": recurrent.carry_spec(self.network)})

    @cached_property
    def _q_policy(self) -> Policy:
        return RecurrentQPolicy(self.network)

    @cached_property
    def _noisy(self) -> bool:
        return False

    def q_values(self, params: Tree, observation: Tree) -> Array:
        """Q of every action `[..., num_actions]` at the first step of an episode, from
        `policy_params`.
        """
        inputs, spec = (
            split_action_mask(observation)[0],
            split_action_mask(self.specs.observation)[0],
        )
        return recurrent.first_step(self.network, params["params"]["q"], inputs, spec)

    def loss(
        self,
        params: Tree,
        state: TrainState,
        experience: Trajectory,
        key: Array,
        weights: Array | None = None,
    ) -> LossInfo:
        """The mean of weight x loss over sequences `[B, train_sequence_length, ...]`;
        `per_example["td_error"]` is `[B]`.
        """
        outputs = (
            self._unroll(params["q"], experience),
            self._unroll(state.target_params["q"], experience),
        )
        # From here on a row's observation is what the two networks made of it, so that windows
        # reduce as they always do.
        mask = split_action_mask(experience.observation)[1]
        rows = experience._replace(observation=mask, policy_info=())
        rows = jax.tree.map(lambda x: x[:, self.burn_in :], rows)
        rows = rows._replace(observation=(*outputs, rows.observation))
        starts = jnp.arange(self.sequence_length)[:, None] + jnp.arange(self.n_step + 1)
        windows = jax.tree.map(
            lambda x: x[:, starts].reshape(-1, self.n_step + 1, *x.shape[2:]), rows
        )
        steps = to_transition(windows, self.gamma)
        outputs_tm1 = steps.observation[0]
        selector, outputs_t, next_mask = steps.next_observation
        loss, td_error = jax.vmap(self.example_loss)(
            outputs_tm1,
            steps.action,
            steps.reward,
            steps.discount,
            outputs_t,
            selector if self.double else outputs_t,
            next_mask,
        )
        q = jax.vmap(losses.index)(outputs_tm1, steps.action)
        loss, td_error, q = (
            (x * steps.mask).reshape(-1, self.sequence_length) for x in (loss, jnp.abs(td_error), q)
        )
        priority = 0.9 * td_error.max(axis=1) + 0.1 * td_error.mean(axis=1)
        metrics = {"q": weighted_mean(q.mean(axis=1), weights)}
        return LossInfo(weighted_mean(loss.mean(axis=1), weights), metrics, {"td_error": priority})

    def _unroll(self, variables: Tree, rows: Trajectory) -> Array:
        """The outputs `[B, T - burn_in, A]` at the rows after the burn-in."""
        if self.stored_carry:
            carry = jax.tree.map(lambda x: x[:, 0], rows.policy_info["carry"])
        else:
            carry = self.network.initial_carry(rows.step_type.shape[:1])
        inputs, starts = split_action_mask(rows.observation)[0], resets(rows)
        if self.burn_in:
            early = jax.tree.map(lambda x: x[:, : self.burn_in], (inputs, starts))
            carry = jax.lax.stop_gradient(self.network.apply(variables, *early, carry)[1])
        inputs, starts = jax.tree.map(lambda x: x[:, self.burn_in :], (inputs, starts))
        return self.network.apply(variables, inputs, starts, carry)[0]

    def _init_network(self, key: Array) -> Tree:
        return recurrent.init(self.network, key, split_action_mask(self.specs.observation)[0])

    def _check_network(self) -> None:
        spec = split_action_mask(self.specs.observation)[0]

        def call(key: Array) -> Array:
            variables = recurrent.init(self.network, key, spec)
            return recurrent.first_step(self.network, variables, zeros(spec, (2, 3)), spec)

        try:
            got = jax.eval_shape(call, jax.random.key(0)).shape
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                "network: cannot take (observations, resets, carry) for observations "
                f"{self.specs.observation}: {error}; "
                "networks.RecurrentQNetwork can, with an encoder where observations are not vectors"
            ) from error
        if got != (2, 3, *self.output_shape):
            raise ValueError(
                f"network: expected values {[2, 3, *self.output_shape]} for observations [2, 3, "
                f"...], got {list(got)}"
            )

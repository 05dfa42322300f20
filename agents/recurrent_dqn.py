"""Recurrent DQN: Q-learning with memory from replayed sequences (Kapturowski et al. 2019, R2D2)."""

import dataclasses
from collections.abc import Sequence
from functools import cached_property

import jax
import jax.numpy as jnp

from ..envs.specs import trajectory_spec, zeros
from ..envs.types import Array, Trajectory, Tree, split_action_mask
from ..networks import recurrent
from ..policies.greedy import EpsilonGreedyPolicy
from ..policies.policy import Policy
from .agent import LossInfo, Shards, TrainState, over_share, weighted_mean
from .checks import MISFITS, check_variables, hint
from .dqn import DqnAgent
from .reductions import resets, select, to_transition
from .value_based import ValueExample


@dataclasses.dataclass(frozen=True, eq=False)
class RecurrentDqnAgent(DqnAgent):
    """Learns action values with memory, from sequences of burn_in + sequence_length + n_step rows.

    The networks are unrolled over a sequence from its first row (Hausknecht and Stone 2015). The
    first `burn_in` rows only warm up the carry, which then goes on without gradient; each of the
    next `sequence_length` rows is learned from, by the n-step target of `DqnAgent`; the last
    `n_step` only bootstrap. Sequences may span episodes: the carry is reset where one begins, and
    boundary rows do not count. A sequence's loss is the mean over its rows; its priority,
    `per_example["td_error"]`, is 0.9 max + 0.1 mean of the absolute TD errors (Kapturowski et al.
    2019, section 2.3).

    Args:
      specs, optimizer, gamma, n_step, double, epsilon, target_update, td_loss: See `DqnAgent`.
      network: Network from (observations `[..., T, *shape]`, resets `[..., T]`, carry) to (values
        `[..., T, num_actions]`, carry), with `initial_carry(batch_shape)`:
        `networks.RecurrentQNetwork`.
      sequence_length: Number of rows of a sequence that are learned from.
      burn_in: Number of rows before those, which only warm up the carry.
      stored_carry: True to start with the carry that acting had, which is then stored with each row
        (the loops warm up with `agent.collect_policy`, since a random policy has none); False for
        zeros.

    Raises:
      TypeError, ValueError: See `DqnAgent`; also if sequence_length < 1 or burn_in < 0.
    """

    sequence_length: int = 20
    burn_in: int = 0
    stored_carry: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sequence_length < 1 or self.burn_in < 0:
            raise ValueError(
                "RecurrentDqnAgent: expected sequence_length >= 1 and burn_in >= 0, got "
                f"sequence_length={self.sequence_length} and burn_in={self.burn_in}"
            )

    @property
    def train_sequence_length(self) -> int:
        """The number of rows of a training sequence: burn_in + sequence_length + n_step."""
        return self.burn_in + self.sequence_length + self.n_step

    @cached_property
    def collect_policy(self) -> Policy:
        """The policy that gathers experience: epsilon-greedy, which can store its carry."""
        policy = dataclasses.replace(self.q_policy, store_carry=self.stored_carry)
        return EpsilonGreedyPolicy(policy, self.epsilon)

    @cached_property
    def collect_data_spec(self) -> Trajectory:
        """The spec of one row of experience, which includes the carry if it is stored."""
        info = {"carry": recurrent.carry_spec(self.network)} if self.stored_carry else ()
        return trajectory_spec(self.specs, info)

    def init_params(self, keys: Sequence[Array]) -> dict[str, Tree]:
        """The first parameters of the network, by role."""
        spec, _ = split_action_mask(self.specs.observation)
        return {"q": recurrent.init(self.network, keys[0], spec)}

    def q_values(self, params: Tree, observation: Tree) -> Array:
        """Q of every action `[..., num_actions]` at the first step of an episode.

        `params` are from `policy_params`.
        """
        inputs, _ = split_action_mask(observation)
        spec, _ = split_action_mask(self.specs.observation)
        return self.values(recurrent.first_step(self.network, params["params"]["q"], inputs, spec))

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
        """The mean of weight x loss over sequences `[B, train_sequence_length, ...]`.

        `per_example["td_error"]` is `[B]`.
        """
        if weights is not None:
            experience = select(weights != 0, experience)
        online = self._unroll(params["q"], experience)
        target = self._unroll(state.target_params["q"], experience)
        # From here on a row's observation consists of the two networks' outputs for it and of its
        # mask, so that `to_transition` reduces windows of rows as for other agents.
        _, mask = split_action_mask(experience.observation)
        rows = experience._replace(observation=mask, policy_info=())
        rows = jax.tree.map(lambda x: x[:, self.burn_in :], rows)
        rows = rows._replace(observation=(online, target, rows.observation))
        starts = jnp.arange(self.sequence_length)[:, None] + jnp.arange(self.n_step + 1)[None]
        length = self.n_step + 1
        windows = jax.tree.map(lambda x: x[:, starts].reshape(-1, length, *x.shape[2:]), rows)
        steps = to_transition(windows, self.gamma)
        outputs_tm1, target_outputs_tm1, mask_tm1 = steps.observation
        selector, outputs_t, mask_t = steps.next_observation
        example = ValueExample(
            outputs_tm1=outputs_tm1,
            a_tm1=steps.action,
            r_t=steps.reward,
            discount_t=steps.discount,
            outputs_t=outputs_t,
            selector_t=self.values(selector if self.double else outputs_t),
            mask_t=mask_t,
            target_outputs_tm1=target_outputs_tm1,
            mask_tm1=mask_tm1,
        )

        def by_sequence(x: Array) -> Array:
            return jnp.where(steps.mask > 0, x, 0.0).reshape(-1, self.sequence_length)

        loss, td_error, q = (by_sequence(x) for x in self.example_losses(example))
        td_error = jnp.abs(td_error)
        priority = 0.9 * td_error.max(axis=1) + 0.1 * td_error.mean(axis=1)
        share = weighted_mean(by_sequence(steps.mask).mean(axis=1), weights)
        metrics = over_share({"q": weighted_mean(q.mean(axis=1), weights)}, share)
        loss = weighted_mean(loss.mean(axis=1), weights)
        return LossInfo(loss, metrics, {"td_error": priority}, share)

    def _unroll(self, variables: Tree, rows: Trajectory) -> Array:
        """The outputs `[B, T - burn_in, A]` at the rows after the burn-in."""
        if self.stored_carry:
            carry = jax.tree.map(lambda x: x[:, 0], rows.policy_info["carry"])
        else:
            carry = self.network.initial_carry(rows.step_type.shape[:1])
        inputs = split_action_mask(rows.observation)[0], resets(rows)
        if self.burn_in:
            early = jax.tree.map(lambda x: x[:, : self.burn_in], inputs)
            carry = jax.lax.stop_gradient(self.network.apply(variables, *early, carry)[1])
        late = jax.tree.map(lambda x: x[:, self.burn_in :], inputs)
        return self.network.apply(variables, *late, carry)[0]

    @cached_property
    def _is_noisy(self) -> bool:
        return False

    def check_network(self) -> None:
        """Raises a ValueError unless the network has memory and maps observations to values."""
        spec, _ = split_action_mask(self.specs.observation)

        def call(key: Array) -> Array:
            self.network.initial_carry(())  # a network without one has no memory
            variables = recurrent.init(self.network, key, spec)
            check_variables(variables)
            return recurrent.first_step(self.network, variables, zeros(spec, (2, 3)), spec)

        try:
            got = jax.eval_shape(call, jax.random.key(0)).shape
        except MISFITS as error:
            advice = (
                "networks.RecurrentQNetwork can, with an encoder where observations are not vectors"
            )
            raise ValueError(
                "network: cannot take (observations, resets, carry) for observations "
                f"{self.specs.observation}: {error}; {hint(error, advice)}"
            ) from error
        expected = (2, 3, *self.output_shape)
        if got != expected:
            raise ValueError(
                f"network: expected values {list(expected)} for observations [2, 3, ...], "
                f"got {list(got)}"
            )

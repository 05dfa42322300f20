"""`diagnose`: trains an agent on five probes in seconds, and says which part of it is broken."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import numpy as jnp

from ..envs import probes
from ..envs.specs import EnvironmentSpecs
from ..envs.types import StepType, TimeStep
from .off_policy_scan import OffPolicyScan

# What an agent that fails a probe, having passed those before it, has wrong.
_BLAME = {
    "ConstantReward": "a constant reward is not learnt: look at the loss, its sign, the optimizer, "
    "how rewards reach it, and at the discount of 0 that ends an episode",
    "ObservationReward": "the value ignores the observation: "
    "look at the network, its inputs, and at how rows are batched",
    "DelayedReward": "the next value is not discounted or not bootstrapped: "
    "look at gamma, the target and its network",
    "ActionReward": "the action is not learnt from: "
    "look at which action's value is updated, and at how the policy chooses",
    "ObservationActionReward": "the policy does not tell observations apart: "
    "look at what it sees, and at how rows are batched",
}


class ProbeResult(NamedTuple):
    """What an agent learnt in one probe: values and actions `[k]` at the probe's observations
    `[k, 1]`, beside the right ones.

    The right values are None for an agent without `value`, the right actions where any will do.
    """

    name: str
    passed: bool
    values: np.ndarray | None
    expected_values: np.ndarray
    actions: np.ndarray
    expected_actions: np.ndarray | None


class Diagnosis(NamedTuple):
    """The results of all probes, and `blame`: what the first failure says is broken, or None."""

    results: tuple[ProbeResult, ...]
    blame: str | None

    def __str__(self) -> str:
        lines = [_describe(result) for result in self.results]
        return "\n".join([*lines, f"Broken: {self.blame}." if self.blame else "All probes pass."])


def diagnose(
    agent_factory: Callable[[EnvironmentSpecs], Any],
    *,
    continuous: bool = False,
    gamma: float = 0.9,
    num_updates: int = 500,
    num_envs: int = 8,
    batch_size: int = 64,
    tolerance: float = 0.1,
    action_tolerance: float = 0.2,
    stop_at_failure: bool = False,
    seed: int = 0,
) -> Diagnosis:
    """Trains an off-policy agent on each probe of `envs.probes` on device, and compares it with
    what a right one learns.

    The probes come in order, each adding one thing: a value, the observation, the next value, the
    action, and both (Jones, "Debugging reinforcement learning systems"; rejax tests so). The first
    failure is where to look.

        def make(specs):
            return DqnAgent(specs, QNetwork(2, (32,)), optax.adam(3e-3), gamma=0.9)

        print(diagnose(make))

    Args:
      agent_factory: makes the agent for an environment's specs: observations float32 `[1]`, two
        actions, or float32 `[1]` in -1..1 if `continuous`. Give it `gamma` below, a learning rate
        that is right for few updates (1e-3 to 1e-2), and targets that follow soon.
      continuous: whether the agent's actions are.
      gamma: the discount factor that the agent claims to use.
      num_updates: of the optimizer, for each probe.
      num_envs: environments that make rows, one each for an update.
      batch_size: windows in an update.
      tolerance: the greatest error of a value, in units of reward.
      action_tolerance: the greatest error of a continuous action.
      stop_at_failure: leave out the probes after the first failure, which decides the blame.
      seed: of the whole run.

    Returns:
      A `Diagnosis`; `print` it, or read its `blame`.
    """
    results = []
    for probe in probes.all_probes(continuous):
        agent = agent_factory(probe.specs)
        loop = OffPolicyScan(
            agent,
            probe,
            num_envs=num_envs,
            batch_size=batch_size,
            capacity=num_envs * num_updates,
            warmup_rows=max(batch_size // num_envs, agent.train_sequence_length or 2),
        )
        observations, expected_values = probe.expected_values(gamma)

        @jax.jit
        def learn(
            key: Any,
            agent: Any = agent,
            loop: OffPolicyScan = loop,
            observations: np.ndarray = observations,
        ) -> tuple:
            run_key, act_key = jax.random.split(key)
            state, _ = loop.train(run_key, num_updates)
            params = agent.policy_params(state.train)
            count = len(observations)
            ones = jnp.ones(count, jnp.float32)
            time_step = TimeStep(
                jnp.full(count, StepType.FIRST), ones * 0, ones, jnp.asarray(observations)
            )
            step = agent.policy.action(
                params, time_step, agent.policy.initial_state((count,)), act_key
            )
            values = agent.value(params, time_step.observation) if hasattr(agent, "value") else None
            return values, step.action

        values, actions = jax.tree.map(np.asarray, learn(jax.random.key(seed)))
        best = probe.best_actions()
        passed = values is None or bool(np.all(np.abs(values - expected_values) <= tolerance))
        if best is not None:
            allowed = action_tolerance if continuous else 0.0
            passed &= bool(np.all(np.abs(actions - best) <= allowed))
        results.append(
            ProbeResult(type(probe).__name__, passed, values, expected_values, actions, best)
        )
        if stop_at_failure and not passed:
            break
    failed = [result.name for result in results if not result.passed]
    return Diagnosis(tuple(results), _BLAME[failed[0]] if failed else None)


def _describe(result: ProbeResult) -> str:
    numbers = lambda x: ", ".join(f"{number:.2f}".rstrip("0").rstrip(".") for number in np.ravel(x))
    parts = []
    if result.values is not None:
        parts.append(f"values {numbers(result.values)} (right: {numbers(result.expected_values)})")
    if result.expected_actions is not None:
        parts.append(
            f"actions {numbers(result.actions)} (right: {numbers(result.expected_actions)})"
        )
    return f"{result.name:<24}{'passes' if result.passed else 'FAILS':<8}{'; '.join(parts)}"

"""A diagnosis of an agent by five probe environments, in seconds."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import numpy as jnp

from ..envs import probes
from ..envs.specs import EnvironmentSpecs
from ..envs.types import Array, StepType, TimeStep
from .off_policy_scan import OffPolicyScan

# The error of an agent that fails a probe and has passed those before it.
_BLAME = {
    "ConstantReward": (
        "a constant reward is not learnt: look at the loss, its sign, the optimizer, how rewards "
        "reach it, and at the discount of 0 that ends an episode"
    ),
    "ObservationReward": (
        "the value ignores the observation: look at the network, its inputs, and at how rows are "
        "batched"
    ),
    "DelayedReward": (
        "the next value is not discounted or not bootstrapped: look at gamma, the target and its "
        "network"
    ),
    "ActionReward": (
        "the action is not learnt from: look at which action's value is updated, and at how the "
        "policy chooses"
    ),
    "ObservationActionReward": (
        "the policy does not distinguish observations: look at what it sees, and at how rows are "
        "batched"
    ),
}


class ProbeResult(NamedTuple):
    """The result of one probe, at its observations `[k, 1]`.

    Attributes:
      name: Name of the probe.
      passed: True if the agent has learnt it.
      values: Values that the agent has learnt, `[k]`; None for an agent without `value`.
      expected_values: Right values, `[k]`.
      actions: Actions of the agent, `[k]`.
      expected_actions: Right actions, `[k]`; None where any will do.
    """

    name: str
    passed: bool
    values: np.ndarray | None
    expected_values: np.ndarray
    actions: np.ndarray
    expected_actions: np.ndarray | None


class Diagnosis(NamedTuple):
    """The results of all probes.

    Attributes:
      results: Result of each probe.
      blame: Part that is broken, by the first failure; None if there is none.
    """

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
    """Trains an off-policy agent on each probe of `envs.probes`, and says what is broken.

    The probes come in order, each adding one thing: a value, the observation, the next value, the
    action, and both (Jones, "Debugging reinforcement learning systems"; rejax tests so). The first
    failure is where to look.

        make_agent = lambda specs: DqnAgent(specs, QNetwork(2, (32,)), optax.adam(3e-3), gamma=0.9)
        print(diagnose(make_agent))

    Args:
      agent_factory: Function that makes the agent for an environment's specs: observations float32
        `[1]`, two actions, or float32 `[1]` in -1..1 if `continuous`. Give it `gamma` below, a
        learning rate that is right for few updates (1e-3 to 1e-2), and targets that follow soon.
      continuous: Use probes with continuous actions.
      gamma: Discount factor that the agent claims to use.
      num_updates: Number of updates for each probe.
      num_envs: Number of environments, each of which makes a row for an update.
      batch_size: Number of windows in an update.
      tolerance: Greatest error of a value, in units of reward.
      action_tolerance: Greatest error of a continuous action.
      stop_at_failure: Leave out the probes after the first failure, which decides the blame.
      seed: Seed of the whole run.

    Returns:
      A `Diagnosis`; `print` it, or read its `blame`.
    """
    train = _Training(gamma, num_updates, num_envs, batch_size, seed)
    allowed = action_tolerance if continuous else 0.0
    results: list[ProbeResult] = []
    for probe in probes.all_probes(continuous):
        results.append(_examine(probe, agent_factory, train, tolerance, allowed))
        if stop_at_failure and not results[-1].passed:
            break
    failed = [result.name for result in results if not result.passed]
    return Diagnosis(tuple(results), _BLAME[failed[0]] if failed else None)


class _Training(NamedTuple):
    """The training of an agent on a probe; the fields are arguments of `diagnose`."""

    gamma: float
    num_updates: int
    num_envs: int
    batch_size: int
    seed: int


def _examine(
    probe: Any,
    agent_factory: Callable[[EnvironmentSpecs], Any],
    training: _Training,
    tolerance: float,
    action_tolerance: float,
) -> ProbeResult:
    """Trains an agent on one probe, and compares it with a right one."""
    agent = agent_factory(probe.specs)
    observations, expected_values = probe.expected_values(training.gamma)
    values, actions = _learn(probe, agent, training, observations)
    best = probe.best_actions()
    passed = values is None or bool(np.all(np.abs(values - expected_values) <= tolerance))
    if best is not None:
        passed &= bool(np.all(np.abs(actions - best) <= action_tolerance))
    return ProbeResult(type(probe).__name__, passed, values, expected_values, actions, best)


def _learn(
    probe: Any, agent: Any, training: _Training, observations: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray]:
    """Trains an agent; returns its values (None for one without) and actions at observations."""
    loop = OffPolicyScan(
        agent,
        probe,
        num_envs=training.num_envs,
        batch_size=training.batch_size,
        capacity=training.num_envs * training.num_updates,
        warmup_rows=max(training.batch_size // training.num_envs, agent.train_sequence_length or 2),
    )

    @jax.jit
    def run(key: Array) -> tuple[Array | None, Array]:
        run_key, act_key = jax.random.split(key)
        state, _ = loop.train(run_key, training.num_updates)
        params = agent.policy_params(state.train)
        count = len(observations)
        ones = jnp.ones(count, jnp.float32)
        first = jnp.full(count, StepType.FIRST)
        time_step = TimeStep(first, ones * 0, ones, jnp.asarray(observations))
        step = agent.policy.action(params, time_step, agent.policy.initial_state((count,)), act_key)
        values = agent.value(params, time_step.observation) if hasattr(agent, "value") else None
        return values, step.action

    return jax.tree.map(np.asarray, run(jax.random.key(training.seed)))


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

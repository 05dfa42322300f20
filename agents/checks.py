"""Checks of an agent's parts, made when it is built and not while it is traced."""

import inspect
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax.errors import FlaxError

from ..envs.checks import check_specs
from ..envs.specs import DiscreteSpec, EnvironmentSpecs, Spec, validate, zeros
from ..envs.types import Array, Trajectory, Tree, split_action_mask
from ..networks import recurrent

_FUNCTIONS = {
    "target_update": "agents.polyak(0.005) or agents.periodic(200)",
    "td_loss": "losses.huber or losses.squared",
}
# What a network may raise that does not fit; flax's errors are those of a layer that needs a key.
MISFITS = (TypeError, ValueError, AttributeError, FlaxError)
_AT_LEAST_ONE = ("n_step", "num_critics", "actor_delay")
_FRACTIONS = ("gamma", "lambda_", "epsilon")


def check_parts(agent: Any) -> None:
    """Checks the fields that agents share, as far as an agent has them.

    These are `specs`, `optimizer`, `target_update`, `td_loss`, `n_step`, `num_critics`,
    `actor_delay`, `gamma`, `lambda_` and `epsilon`. Traced numbers are not checked.

    Raises:
      TypeError: if a part is of another kind.
      ValueError: if a number is out of its range.
      SpecError: if the specs are not in order, such as an action mask that is not boolean.
    """
    name = type(agent).__name__
    if not isinstance(agent.specs, EnvironmentSpecs):
        raise TypeError(
            f"{name}: expected the specs of an environment, env.specs, got {_format(agent.specs)}"
        )
    check_specs(agent.specs)
    optimizer = agent.optimizer
    for one in optimizer.values() if isinstance(optimizer, Mapping) else (optimizer,):
        if inspect.isclass(one) or not (hasattr(one, "init") and hasattr(one, "update")):
            raise TypeError(
                f"{name}: expected an optimizer such as optax.adam(1e-3), or a dict of them, "
                f"got {_format(one)}"
            )
    for field, example in _FUNCTIONS.items():
        value = getattr(agent, field, None)
        left_out = not hasattr(agent, field) or (field == "target_update" and value is None)
        if not left_out and not callable(value):
            raise TypeError(
                f"{name}: {field}: expected a function such as {example}, got {_format(value)}"
            )
    for field in _AT_LEAST_ONE:
        count: Any = getattr(agent, field, 1)
        if count < 1:
            raise ValueError(f"{name}: expected {field} >= 1, got {count}")
    for field in _FRACTIONS:
        value = getattr(agent, field, 0)
        if isinstance(value, int | float) and not 0 <= value <= 1:
            raise ValueError(f"{name}: expected {field} in 0..1, got {value}")


def check_temperature(owner: str, temperature: float | Array, learned: bool) -> None:
    """Raises a ValueError for a temperature below 0, or of 0 if it is learned."""
    if isinstance(temperature, int | float) and (temperature < 0 or (learned and temperature == 0)):
        raise ValueError(
            f"{owner}: expected a temperature above 0 (0 only if it is not learned), "
            f"got {temperature}"
        )


def check_discrete(owner: str, action: Spec, advice: str) -> None:
    """Raises a ValueError unless actions are one discrete choice; `advice` ends the message."""
    if not isinstance(action, DiscreteSpec) or action.shape:
        raise ValueError(
            f"{owner}: expected one discrete action (DiscreteSpec), got {action}; {advice}"
        )


def check_experience(
    experience: Trajectory,
    spec: Trajectory,
    sequence_length: int | None,
    weights: Array | None = None,
) -> None:
    """Checks experience and weights before they are learned from; costs nothing once traced.

    Entries of the rows' policy info that are not in the spec, such as a version, are ignored.

    Args:
      experience: Rows `[B, T, ...]`.
      spec: Spec of one row.
      sequence_length: Expected T; None allows any.
      weights: Weights `[B]` of the windows; None for 1.

    Raises:
      TypeError: if the experience is not a `Trajectory`.
      ValueError: if the step types are not `[B, T]`, or the weights not `[B]`.
      SpecError: if a leaf does not meet its spec.
    """
    if not hasattr(experience, "step_type"):
        advice = ""
        if hasattr(experience, "experience"):
            advice = "; unpack it: experience, info = next(dataset)"
        raise TypeError(
            "experience: expected a Trajectory of rows [B, T, ...], got "
            f"{type(experience).__name__}{advice}"
        )
    shape = jnp.shape(experience.step_type)
    if len(shape) != 2 or sequence_length not in (None, shape[1]):
        raise ValueError(
            f"experience: expected step types [B, T={sequence_length}], got {list(shape)}; build "
            "the replay with sequence_length=agent.train_sequence_length and sample batches from it"
        )
    check_weights(weights, shape[0])
    info = experience.policy_info
    if isinstance(info, dict):
        known = {name: leaf for name, leaf in info.items() if name in spec.policy_info}
        experience = experience._replace(policy_info=known)
    validate(experience, spec, batch_ndim=2)


def check_weights(weights: Array | None, number: int) -> None:
    """Raises a ValueError unless there is one weight for each of `number` examples, or None."""
    if weights is not None and jnp.shape(weights) != (number,):
        raise ValueError(
            f"weights: expected one for each example, shape {[number]}, got "
            f"{list(jnp.shape(weights))}"
        )


def check_variables(variables: Tree) -> None:
    """Checks that a network's variables are parameters alone.

    Raises:
      ValueError: for other collections, such as the statistics of `nn.BatchNorm`.
    """
    # A network that is no flax module may have any tree of parameters.
    if not isinstance(variables, Mapping) or "params" not in variables:
        return
    others = sorted(set(variables) - {"params"})
    if others:
        raise ValueError(
            f"it has variables {others} beside its parameters, which an update would take for "
            "parameters; a network of parameters alone is supported: use nn.LayerNorm or "
            "nn.GroupNorm in place of nn.BatchNorm, and normalize_observations=True, where an "
            "agent has it, to normalise inputs"
        )


def hint(error: Exception, advice: str) -> str:
    """The end of a message about a network that raised `error`: by default `advice`."""
    if isinstance(error, FlaxError):
        return (
            "a network that needs no key and changes no variables when it is applied is supported: "
            "leave nn.Dropout out, or make it deterministic"
        )
    return advice


def check_values_network(
    network: Any, specs: EnvironmentSpecs, output_shape: tuple[int | None, ...] | None = None
) -> None:
    """Checks that a network maps observations `[2, 3, *shape]` to `[2, 3, *output_shape]`.

    Args:
      network: Network with `init` and `apply`.
      specs: Specs of the environment; the network gets observations without their action mask.
      output_shape: Shape of one output, with None for any size; by default `(num_actions,)`.

    Raises:
      ValueError: if the network does not.
    """
    observation, _ = split_action_mask(zeros(specs.observation))
    batch, _ = split_action_mask(zeros(specs.observation, (2, 3)))
    advice = "networks.default_encoder(env.specs.observation) gives QNetwork an encoder that fits"
    try:
        variables = jax.eval_shape(network.init, jax.random.key(0), observation)
        check_variables(variables)
        got = jax.eval_shape(network.apply, variables, batch).shape
    except MISFITS as error:
        described = jax.tree.map(str, specs.observation)
        raise ValueError(
            f"network: cannot take observations {described}: {error}; {hint(error, advice)}"
        ) from error
    expected = (2, 3, *((specs.action.num_values,) if output_shape is None else output_shape))
    if len(got) == len(expected) and all(
        want in (None, size) for want, size in zip(expected, got, strict=True)
    ):
        return
    if len(got) == len(expected) and got[2] != expected[2]:
        advice = (
            f"there are {expected[2]} actions, and QNetwork({expected[2]}) has a value for each"
        )
    elif None in expected:
        advice = "QNetwork(num_atoms=K) gives outputs for each action"
    shape = ["K" if size is None else size for size in expected]
    raise ValueError(
        f"network: expected values {shape} for observations [2, 3, ...], got {list(got)}; {advice}"
    )


def check_network(name: str, network: Any, spec: Tree, expected: tuple[int, ...]) -> None:
    """Checks that a network maps a batch of inputs to numbers, or to distributions over actions.

    Args:
      name: Name of the network, for the message.
      network: Network with `init` and `apply`.
      spec: Specs of the network's arguments, a tuple.
      expected: Shape of one output, or of the mode of one distribution.

    Raises:
      ValueError: if inputs `[2, 3, ...]` do not give outputs `[2, 3, *expected]`.
    """
    inputs = zeros(spec)
    advice = "networks.default_encoder(env.specs.observation) gives it an encoder that fits"
    try:
        variables = jax.eval_shape(network.init, jax.random.key(0), *inputs)
        check_variables(variables)
        apply = lambda variables, batch: _mode(network.apply(variables, *batch))
        got = jax.eval_shape(apply, variables, zeros(spec, (2, 3))).shape
    except MISFITS as error:
        raise ValueError(
            f"{name}: cannot take {jax.tree.map(lambda x: x.shape, inputs)}: {error}; "
            f"{hint(error, advice)}"
        ) from error
    if got != (2, 3, *expected):
        raise ValueError(
            f"{name}: expected outputs {[2, 3, *expected]} for inputs [2, 3, ...], got "
            f"{list(got)}; see its class"
        )


def check_actor_value(
    owner: str, network: Any, specs: EnvironmentSpecs, needs_value: bool = True
) -> None:
    """Checks that a network maps observations to a distribution over actions and a value.

    Args:
      owner: Name of the agent, for the message.
      network: Network with `init` and `apply`, with or without memory.
      specs: Specs of the environment.
      needs_value: True to refuse a network that gives a distribution only.

    Raises:
      ValueError: if observations `[2, 3, ...]` do not give actions `[2, 3, ...]` and values
        `[2, 3]`.
    """
    spec = specs.observation
    batch = zeros(spec, (2, 3))
    advice = (
        "networks.ActorValueNetwork(ActorNetwork(env.specs.action), ValueNetwork()) is one (with "
        "memory: RecurrentActorValueNetwork); for images give both an encoder"
    )

    def call(key: Array) -> Any:
        variables = recurrent.init(network, key, spec)
        check_variables(variables)
        return recurrent.first_step(network, variables, batch, spec)

    try:
        outputs = jax.eval_shape(call, jax.random.key(0))
        distribution, values = outputs if isinstance(outputs, tuple) else (outputs, None)
        action = jax.eval_shape(lambda d: d.mode(), distribution)
    except MISFITS as error:
        raise ValueError(
            f"{owner}: network cannot take observations {jax.tree.map(str, spec)}: {error}; "
            f"{hint(error, advice)}"
        ) from error
    expected = (2, 3, *specs.action.shape)
    got = None if values is None else list(values.shape)
    if action.shape != expected or (needs_value and got != [2, 3]):
        raise ValueError(
            f"{owner}: expected a network that gives a distribution over actions {list(expected)} "
            f"and values [2, 3] for observations [2, 3, ...], got actions {list(action.shape)} "
            f"and values {got}; {advice}"
        )


def _mode(output: Any) -> Array:
    return output.mode() if hasattr(output, "mode") else output


def _format(value: Any) -> str:
    if isinstance(value, int | float | str | None):
        return repr(value)
    return f"{type(value).__module__}.{type(value).__name__}"

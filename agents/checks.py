"""Whether an agent is made of what it needs, told when it is made and not in the middle of a traced
update.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..envs.specs import EnvironmentSpecs, validate, zeros
from ..envs.types import Array, Trajectory, split_action_mask


def check_parts(agent: Any) -> None:
    """Checks the fields that agents share: `specs`, `optimizer`, and `target_update` and `td_loss`
    where there are any.

    Raises:
      TypeError: one is something else.
    """
    name = type(agent).__name__
    if not isinstance(agent.specs, EnvironmentSpecs):
        raise TypeError(
            f"{name}: expected the specs of an environment, env.specs, got {_what(agent.specs)}"
        )
    optimizers = (
        agent.optimizer.values() if isinstance(agent.optimizer, Mapping) else (agent.optimizer,)
    )
    for optimizer in optimizers:
        if inspect.isclass(optimizer) or not (
            hasattr(optimizer, "init") and hasattr(optimizer, "update")
        ):
            raise TypeError(
                f"{name}: expected an optimizer such as optax.adam(1e-3), or a dict of them, got "
                f"{_what(optimizer)}"
            )
    examples = {
        "target_update": "agents.polyak(0.005) or agents.periodic(200)",
        "td_loss": "losses.huber or losses.squared",
    }
    for field, example in examples.items():
        value = getattr(agent, field, None)
        if value is not None and not callable(value):
            raise TypeError(
                f"{name}: {field}: expected a function such as {example}, got {_what(value)}"
            )


def _what(value: Any) -> str:
    return (
        repr(value)
        if isinstance(value, int | float | str | None)
        else f"{type(value).__module__}.{type(value).__name__}"
    )


def check_experience(
    experience: Trajectory,
    spec: Trajectory,
    sequence_length: int | None,
    weights: Array | None = None,
) -> None:
    """Raises for experience that is not `[B, T, ...]` of `spec` with T = `sequence_length`, or
    weights that are not `[B]`.

    What else a row's policy info holds, such as a version, is passed over. Costs nothing once
    traced.
    """
    if not hasattr(experience, "step_type"):
        advice = (
            "; unpack it: experience, info = next(dataset)"
            if hasattr(experience, "experience")
            else ""
        )
        raise TypeError(
            "experience: expected a Trajectory of rows [B, T, ...], got "
            f"{type(experience).__name__}{advice}"
        )
    shape = jnp.shape(experience.step_type)
    if len(shape) != 2 or sequence_length not in (None, shape[1]):
        raise ValueError(
            f"experience: expected step types [B, T={sequence_length}], got {list(shape)}; build "
            "the replay with "
            "sequence_length=agent.train_sequence_length and sample batches from it"
        )
    if weights is not None and jnp.shape(weights) != shape[:1]:
        raise ValueError(
            f"weights: expected one for each window, shape {list(shape[:1])}, got "
            f"{list(jnp.shape(weights))}"
        )
    info = experience.policy_info
    if isinstance(info, dict):
        experience = experience._replace(
            policy_info={name: leaf for name, leaf in info.items() if name in spec.policy_info}
        )
    validate(experience, spec, batch_ndim=2)


def check_values_network(
    network: Any, specs: EnvironmentSpecs, output_shape: tuple[int | None, ...] | None = None
) -> None:
    """Raises a ValueError if a network does not map observations `[2, 3, *shape]` to
    `[2, 3, *output_shape]`.

    A None in `output_shape` stands for any size; without it, the outputs are to be action values
    `[2, 3, num_actions]`.
    """
    observation, _ = split_action_mask(zeros(specs.observation))
    batch, _ = split_action_mask(zeros(specs.observation, (2, 3)))
    advice = "networks.default_encoder(env.specs.observation) gives QNetwork an encoder that fits"
    try:
        variables = jax.eval_shape(network.init, jax.random.key(0), observation)
        got = jax.eval_shape(network.apply, variables, batch).shape
    except (TypeError, ValueError, AttributeError) as error:
        described = jax.tree.map(str, specs.observation)
        raise ValueError(
            f"network: cannot take observations {described}: {error}; {advice}"
        ) from error
    expected = (2, 3, *((specs.action.num_values,) if output_shape is None else output_shape))
    if len(got) != len(expected) or any(
        want not in (None, size) for want, size in zip(expected, got, strict=True)
    ):
        shape = ["K" if size is None else size for size in expected]
        if len(got) == len(expected) and got[2] != expected[2]:
            advice = (
                f"there are {expected[2]} actions, and QNetwork({expected[2]}) has a value for each"
            )
        elif None in expected:
            advice = "QNetwork(num_atoms=K) gives outputs for each action"
        raise ValueError(
            f"network: expected values {shape} for observations [2, 3, ...], got {list(got)}; "
            f"{advice}"
        )


def check_network(
    name: str, network: Any, inputs: tuple, batch: tuple, expected: tuple[int, ...]
) -> None:
    """Raises a ValueError unless a network maps `batch`, inputs `[2, 3, ...]`, to numbers or
    actions `[2, 3, *expected]`.
    """
    advice = "networks.default_encoder(env.specs.observation) gives it an encoder that fits"
    try:
        variables = jax.eval_shape(network.init, jax.random.key(0), *inputs)
        output = jax.eval_shape(lambda v, x: _mode(network.apply(v, *x)), variables, batch)
        got = output.shape
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{name}: cannot take {jax.tree.map(lambda x: x.shape, inputs)}: {error}; {advice}"
        ) from error
    if got != (2, 3, *expected):
        raise ValueError(
            f"{name}: expected outputs {[2, 3, *expected]} for inputs [2, 3, ...], got "
            f"{list(got)}; see its class"
        )


def check_numbers(
    owner: str,
    n_step: int,
    gamma: Any,
    num_critics: int,
    temperature: Any = 1.0,
    learn_temperature: bool = False,
) -> None:
    """Raises a ValueError for numbers out of range; traced ones are let through."""
    if n_step < 1:
        raise ValueError(f"{owner}: expected n_step >= 1, got {n_step}")
    if num_critics < 1:
        raise ValueError(f"{owner}: expected num_critics >= 1, got {num_critics}")
    if isinstance(gamma, int | float) and not 0 <= gamma <= 1:
        raise ValueError(f"{owner}: expected gamma in 0..1, got {gamma}")
    if isinstance(temperature, int | float) and (
        temperature < 0 or (learn_temperature and temperature == 0)
    ):
        raise ValueError(
            f"{owner}: expected a temperature above 0 (0 only if it is not learned), got "
            f"{temperature}"
        )


def _mode(output: Any) -> Array:
    return output.mode() if hasattr(output, "mode") else output

"""Whether an agent is made of what it needs, told when it is made and not in the middle of a traced update."""

import inspect
from collections.abc import Mapping
from typing import Any

from ..envs.specs import EnvironmentSpecs


def check_parts(agent: Any) -> None:
    """Checks the fields that agents share: `specs`, `optimizer`, and `target_update` and `td_loss` where there are any.

    Raises:
      TypeError: one is something else.
    """
    name = type(agent).__name__
    if not isinstance(agent.specs, EnvironmentSpecs):
        raise TypeError(f"{name}: expected the specs of an environment, env.specs, got {_what(agent.specs)}")
    optimizers = agent.optimizer.values() if isinstance(agent.optimizer, Mapping) else (agent.optimizer,)
    for optimizer in optimizers:
        if inspect.isclass(optimizer) or not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
            raise TypeError(
                f"{name}: expected an optimizer such as optax.adam(1e-3), or a dict of them, got {_what(optimizer)}"
            )
    examples = {"target_update": "agents.polyak(0.005) or agents.periodic(200)", "td_loss": "losses.huber or losses.squared"}
    for field, example in examples.items():
        value = getattr(agent, field, None)
        if value is not None and not callable(value):
            raise TypeError(f"{name}: {field}: expected a function such as {example}, got {_what(value)}")


def _what(value: Any) -> str:
    return repr(value) if isinstance(value, int | float | str | None) else f"{type(value).__module__}.{type(value).__name__}"

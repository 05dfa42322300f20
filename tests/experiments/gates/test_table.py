"""The table of gates is well formed; that the agents reach them is `pytest -m learning`."""

import jax
import pytest

from jax_agents.experiments.gates.table import GATES, find


def test_names_are_unique_and_found():
    assert len({gate.name for gate in GATES}) == len(GATES)
    for gate in GATES:
        assert find(gate.name) is gate
    with pytest.raises(ValueError, match="dqn-cartpole-cleanrl"):
        find("dqn-pong")


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.name)
def test_every_configuration_builds_and_makes_as_many_steps_as_it_says(gate):
    loop = gate.make_loop()
    state = jax.eval_shape(loop.init, jax.random.key(0))
    assert gate.num_iterations % 10 == 0 and gate.num_seeds >= 5
    if gate.steps == 0:  # learns from given rows
        assert loop.rows.step_type.ndim == 2
        return
    if hasattr(state, "rollout"):  # an evolution strategy starts anew in every generation
        assert state.rollout.time_step.step_type.shape == (loop.num_envs,)
    rows = loop.num_envs * (
        getattr(loop, "warmup_rows", 0) + gate.num_iterations * loop.rows_per_iteration
    )
    assert 0.98 * gate.steps <= rows <= gate.steps

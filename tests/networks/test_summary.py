"""Parameter tables."""

import jax
import jax.numpy as jnp
import numpy as np

from jax_agents import networks
from jax_agents.envs.specs import ArraySpec, DiscreteSpec


def test_the_table_counts_every_parameter():
    network = networks.QNetwork(3, (8,))
    spec = ArraySpec((5,))
    table = networks.tabulate(network, spec)
    params = network.init(jax.random.key(0), jnp.zeros(5))["params"]
    lines = [line.split() for line in table.splitlines()]
    assert lines[0] == ["parameter", "shape", "count"]
    assert ["MLP_0/Dense_0/kernel", "5x8", "40"] in lines and ["Dense_0/bias", "3", "3"] in lines
    total = networks.num_params(params)
    assert (
        lines[-1] == ["total", str(total)]
        and total == sum(int(line[-1]) for line in lines[1:-1]) == 75
    )
    assert networks.tabulate_params(params) == table
    assert len({len(line) for line in table.splitlines()}) == 1  # columns are aligned


def test_scalars_masks_and_dicts():
    assert "log_alpha  scalar      1" in networks.tabulate_params({"log_alpha": np.zeros(())})
    spec = {"observation": DiscreteSpec(4), "action_mask": ArraySpec((2,), np.bool_)}
    network = networks.QNetwork(2, (), encoder=networks.default_encoder(spec))
    assert "4x2" in networks.tabulate(network, spec)
    spec = {"a": ArraySpec((2,)), "b": ArraySpec((3,))}
    assert "5x2" in networks.tabulate(
        networks.QNetwork(2, (), encoder=networks.default_encoder(spec)), spec
    )

"""What `print(agent)` shows."""

import jax.numpy as jnp
import optax

from jax_agents import agents, networks
from jax_agents.envs import classic


def test_a_line_for_each_field():
    specs = classic.CartPole().specs
    agent = agents.DqnAgent(
        specs,
        networks.QNetwork(2, hidden=(8,), dueling=True, activation=jnp.tanh),
        optax.adam(1e-3),
        epsilon=optax.linear_schedule(1.0, 0.1, 100),
        target_update=agents.polyak(0.01),
    )
    lines = str(agent).splitlines()
    assert lines[0] == "DqnAgent" and f"{agent}" == str(agent)
    assert (
        lines[1].startswith("  observation: float32[4]") and lines[2] == "  action: int32[] in 0..1"
    )
    told = dict(line.strip().split(": ", 1) for line in lines[1:])
    assert told["network"] == "QNetwork(num_actions=2, hidden=(8,), activation=tanh, dueling=True)"
    assert told["optimizer"] == "optax transformation" and told["gamma"] == "0.99"
    assert (
        told["target_update"] == "polyak"
        and told["td_loss"] == "huber"
        and "schedule" in told["epsilon"]
    )
    assert "0x" not in str(agent)  # no addresses


def test_several_optimizers():
    specs = classic.Pendulum().specs
    networks_ = networks.TanhNormalActor(specs.action, (8,)), networks.CriticNetwork((8,))
    optimizers = {role: optax.adam(1e-3) for role in ("actor", "critic", "alpha")}
    text = str(agents.SacAgent(specs, *networks_, optimizers))
    assert (
        "optimizer: {actor: optax transformation, critic: optax transformation, "
        "alpha: optax transformation}" in text
    )

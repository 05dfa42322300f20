import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents.agents import CategoricalDqnAgent, rainbow
from jax_agents.envs.probes import ActionReward
from jax_agents.envs.specs import ArraySpec, BoundedSpec, DiscreteSpec, EnvironmentSpecs
from jax_agents.learners import OffPolicyScan
from jax_agents.policies import NoisyPolicy

BOUNDS = {"v_min": -2.0, "v_max": 2.0}


def test_every_part_is_in_force():
    agent = rainbow(
        EnvironmentSpecs(ArraySpec((4,)), DiscreteSpec(3)),
        optax.adam(1e-3),
        **BOUNDS,
        hidden=(8,),
        head_hidden=(6,),
    )
    assert type(agent) is CategoricalDqnAgent  # no class of its own
    assert agent.double and agent.n_step == 3 and agent.train_sequence_length == 4
    assert isinstance(agent.collect_policy, NoisyPolicy) and agent.epsilon == 0.0
    params = jax.eval_shape(agent.init, jax.random.key(0)).params["q"]["params"]
    kernels = {layer["kernel"].shape for layer in params.values()}
    # the last two: advantages and value, of 51 atoms
    assert kernels == {
        (4, 8),
        (8, 6),
        (6, 3 * 51),
        (6, 51),
    }
    assert all("kernel_sigma" in layer for layer in params.values())


@pytest.mark.learning
def test_it_learns_on_device_from_prioritised_replay():
    """Noise alone explores: which of two actions earns 1, which -1, in a single step."""
    env = ActionReward()
    agent = rainbow(
        env.specs, optax.adam(0.01), **BOUNDS, hidden=(8,), head_hidden=(8,), num_atoms=21
    )

    @jax.jit
    def run(key):
        loop = OffPolicyScan(
            agent,
            env,
            num_envs=4,
            batch_size=32,
            capacity=256,
            warmup_rows=16,
            priority_exponent=0.5,
            importance_exponent=optax.linear_schedule(0.4, 1.0, 150),
        )
        return loop.train(key, num_iterations=150)

    state, metrics = run(jax.random.key(0))
    params = agent.policy_params(state.train)
    observations, values = env.expected_values(0.99)
    np.testing.assert_allclose(agent.value(params, observations), values, atol=0.15)
    np.testing.assert_array_equal(
        agent.q_values(params, observations).argmax(-1), env.best_actions()
    )
    # priorities follow the losses
    assert len(np.unique(np.asarray(state.replay.tree[0]).ravel())) > 10
    assert jnp.isfinite(metrics["loss"]).all()


@pytest.mark.parametrize(
    "action", [BoundedSpec((1,), np.float32, -1, 1), DiscreteSpec((2, 3))], ids=str
)
def test_other_actions_are_refused(action):
    with pytest.raises(ValueError, match="CategoricalDqnAgent: expected one discrete action"):
        rainbow(EnvironmentSpecs(ArraySpec((4,)), action), optax.sgd(0.1), **BOUNDS)

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import envs, networks
from jax_agents.agents import DqnAgent, OfSteps, PpoAgent, scale_by_steps
from jax_agents.agents.step_schedules import count_batch, first_counts, scheduled
from jax_agents.learners import OnPolicyScan


def test_steps_count_when_the_next_batch_comes_and_stop_at_the_greatest_number():
    extra = first_counts()
    seen = []
    for num_steps in (5, 7, 2**31 - 10, 100, 1):
        extra = count_batch(extra, jnp.int32(num_steps))
        seen.append(int(extra["num_steps"]))
    assert seen == [0, 5, 12, 2**31 - 1, 2**31 - 1]


def test_a_schedule_is_of_steps_or_of_updates():
    state = type("State", (), {"step": jnp.int32(3), "extra": {"num_steps": jnp.int32(40)}})
    assert scheduled(0.5, state) == 0.5
    assert scheduled(lambda step: 2 * step, state) == 6
    assert scheduled(OfSteps(lambda step: 2 * step), state) == 80


def test_a_rate_of_steps_needs_an_agent_that_counts_them():
    env = envs.classic.CartPole()
    optimizer = optax.chain(optax.sgd(1.0), scale_by_steps(lambda step: 0.1))
    agent = DqnAgent(env.specs, networks.QNetwork(2, (4,)), optimizer)
    state = agent.init(jax.random.key(0))
    row = jax.tree.map(lambda s: np.zeros((3, 2, *s.shape), s.dtype), agent.collect_data_spec)
    with pytest.raises(ValueError, match="counts no environment steps, as on-policy"):
        agent.train(state, row)


@pytest.mark.parametrize("max_episode_steps", [1, 3, 500])
def test_rates_clip_ratios_and_entropy_follow_the_steps_before_a_batch(max_episode_steps):
    """With plain gradient descent the change of a parameter has the rate as a factor."""
    env = envs.classic.CartPole(max_episode_steps=max_episode_steps)
    network = networks.ActorValueNetwork(
        networks.ActorNetwork(env.specs.action, (4,)), networks.ValueNetwork((4,))
    )
    seen = []

    def rate(step):
        jax.debug.callback(lambda step: seen.append(int(step)), step)
        return jnp.where(step < 30, 0.1, 0.0)

    agent = PpoAgent(
        env.specs,
        network,
        optax.chain(optax.sgd(1.0), scale_by_steps(rate)),
        clip_ratio=OfSteps(lambda step: 0.2 + 0 * step),
        entropy_coefficient=OfSteps(lambda step: 0.01 * (step < 10)),
    )
    loop = OnPolicyScan(agent, env, num_envs=2, num_rows=8, num_epochs=2, num_minibatches=1)
    state = loop.init(jax.random.key(0))
    run = jax.jit(loop.iteration)
    for _ in range(6):
        before, seen[:] = state, []
        state, _ = run(state)
        jax.effects_barrier()
        steps = int(before.num_steps)
        assert seen == [steps, steps]  # of each of the two updates
        moved = any(
            (a != b).any()
            for a, b in zip(
                jax.tree.leaves(before.train.params),
                jax.tree.leaves(state.train.params),
                strict=True,
            )
        )
        assert moved == (steps < 30)
    assert int(state.num_steps) <= 6 * 16 * max_episode_steps / (max_episode_steps + 1) + 2

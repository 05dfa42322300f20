import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents.agents import EsAgent
from jax_agents.drivers import play_episodes
from jax_agents.envs.classic import CartPole
from jax_agents.learners import EvolutionScan
from jax_agents.networks import ActorNetwork

ENV = CartPole(max_episode_steps=60)
AGENT = EsAgent(
    ENV.specs,
    ActorNetwork(ENV.specs.action, (8,), activation=nn.relu),
    optax.adam(0.05),
    population_size=20,
    sigma=0.1,
    normalize_observations=True,
)
LOOP = EvolutionScan(AGENT, ENV, num_episodes=2, max_steps=50)


@pytest.fixture(scope="module")
def start():
    return jax.jit(LOOP.init)(jax.random.key(0))


@pytest.fixture(scope="module")
def ran(start):
    """Twenty generations, four by four, and what was reported of each four."""
    run = jax.jit(lambda state: LOOP.run(state, 4, 1))
    states, reports = [start], []
    for _ in range(5):
        state, metrics = run(states[-1])
        states.append(state)
        reports.append(metrics)
    return states, jax.tree.map(lambda *x: np.concatenate(x), *reports)


def test_it_learns_and_counts_the_steps_that_were_played(ran):
    states, metrics = ran
    assert states[-1].iteration == states[-1].train.step == 20
    np.testing.assert_array_equal(metrics["episodes"], [4 * 20 * 2] * 5)
    returns, steps = metrics["episode_return"], metrics["steps"]
    # CartPole's reward is 1 for each step
    np.testing.assert_allclose(steps, returns * 160, rtol=1e-5)
    assert returns[-1] > 45 > 30 > returns[0]
    assert LOOP.num_envs * LOOP.rows_per_iteration == 20 * 2 * 50 >= steps.max() / 4
    np.testing.assert_allclose(
        states[-1].train.extra["observation_statistics"].count, steps.sum(), rtol=1e-6
    )


def test_n_then_m_generations_are_exactly_n_plus_m(start, ran):
    state, metrics = jax.jit(lambda state: LOOP.run(state, 8, 2))(start)
    states, reports = ran
    chex.assert_trees_all_equal(state.train.params, states[2].train.params)
    np.testing.assert_allclose(metrics["steps"], reports["steps"][:2])
    assert (jax.random.key_data(state.train.key) != jax.random.key_data(start.train.key)).any()


def test_seeds_by_vmap_equal_single_generations_of_ask_episodes_and_tell(start):
    """In which all members start from the same states."""
    states = jax.tree.map(lambda *x: jnp.stack(x), start, jax.jit(LOOP.init)(jax.random.key(1)))
    together, metrics = jax.jit(jax.vmap(lambda state: LOOP.run(state, 1)))(states)

    @jax.jit
    def by_hand(state):
        key = jax.random.fold_in(state.key, state.iteration)
        play = lambda params: play_episodes(ENV, AGENT.policy, params, key, 2, 50, statistics=True)
        played = jax.vmap(play)(AGENT.ask(state.train))
        return AGENT.tell(state.train, played.returns.mean(axis=1), played.statistics)

    for i in range(2):
        expected, info = by_hand(jax.tree.map(lambda x, i=i: x[i], states))
        one = jax.tree.map(lambda x, i=i: x[i], together)
        chex.assert_trees_all_close(one.train.params, expected.params, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(metrics["loss"][i], [info.loss], rtol=1e-6)
    assert metrics["loss"][0] != metrics["loss"][1]


def test_errors(start):
    with pytest.raises(ValueError, match="num_episodes >= 1, got 0"):
        EvolutionScan(AGENT, ENV, num_episodes=0)
    with pytest.raises(ValueError, match="positive multiple of num_reports=3, got 10"):
        LOOP.run(start, 10, 3)

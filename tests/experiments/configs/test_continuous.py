import jax
import pytest

from jax_agents import envs
from jax_agents.experiments import DdpgConfig, DiscreteSacConfig, SacConfig, Td3Config

SPECS = envs.classic.Pendulum().specs


def test_sac_is_what_the_configuration_says():
    agent = SacConfig(
        hidden=(5,), num_critics=3, temperature=0.2, learn_temperature=False, tau=0.25
    ).agent(SPECS)
    assert (
        agent.num_critics,
        agent.temperature,
        agent.learn_temperature,
        agent.target_entropy,
    ) == (3, 0.2, False, None)
    moved = agent.target_update({"x": 1.0}, {"x": 0.0}, 1)
    assert float(moved["x"]) == pytest.approx(0.25)
    state = agent.init(jax.random.key(0))
    assert {leaf.shape for leaf in jax.tree.leaves(state.params["critic"])} == {
        (3, 4, 5),
        (3, 5),
        (3, 5, 1),
        (3, 1),
    }


def test_td3_and_ddpg():
    agent = Td3Config(actor_delay=3, target_noise=0.1, exploration_damping=0.15, hidden=(5,)).agent(
        SPECS
    )
    assert (
        agent.actor_delay,
        agent.target_noise,
        agent.exploration_damping,
        agent.num_critics,
    ) == (3, 0.1, 0.15, 2)
    agent = DdpgConfig(exploration_noise=0.3, hidden=(5,), n_step=3).agent(SPECS)
    assert (
        agent.num_critics,
        agent.actor_delay,
        agent.exploration_noise,
        agent.train_sequence_length,
    ) == (1, 1, 0.3, 4)


def test_discrete_sac():
    agent = DiscreteSacConfig(target_entropy_ratio=0.5).agent(envs.classic.CartPole().specs)
    assert (agent.target_entropy_ratio, agent.n_step) == (0.5, 3)
    with pytest.raises(ValueError):
        SacConfig().agent(envs.classic.CartPole().specs)

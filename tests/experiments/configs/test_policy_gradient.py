import jax
import pytest

from jax_agents import envs, networks
from jax_agents.experiments import A2cConfig, ImpalaConfig, PpoConfig, ReinforceConfig

SPECS = envs.classic.CartPole().specs


def test_ppo_is_what_the_configuration_says():
    config = PpoConfig(
        num_steps=512,
        hidden=(7, 5),
        gamma=0.9,
        lambda_=0.8,
        clip_ratio=0.3,
        clip_ratio_end=0.1,
        value_clip=None,
        kl_target=0.02,
    )
    agent = config.agent(SPECS)
    assert (agent.gamma, agent.lambda_, agent.value_clip, agent.kl_target, agent.advantages) == (
        0.9,
        0.8,
        None,
        0.02,
        "minibatch",
    )
    clip_ratio = agent.clip_ratio.schedule  # of environment steps
    assert [float(clip_ratio(config.num_steps * i / 2)) for i in range(3)] == pytest.approx(
        [0.3, 0.2, 0.1]
    )
    assert PpoConfig(clip_ratio=None).agent(SPECS).clip_ratio is None
    shapes = sorted(leaf.shape for leaf in jax.tree.leaves(agent.init(jax.random.key(0)).params))
    tower = [(4, 7), (5,), (7,), (7, 5)]
    assert shapes == sorted([*tower, *tower, (5, 2), (2,), (5, 1), (1,)])


def test_ppo_with_memory():
    agent = PpoConfig(hidden=(4,), lstm_size=3, activation="relu").agent(SPECS)
    assert isinstance(agent.network, networks.RecurrentActorValueNetwork)
    assert (agent.network.core.size, agent.network.value_core.size) == (3, 3)


def test_reinforce_with_and_without_a_baseline():
    assert isinstance(ReinforceConfig().agent(SPECS).network, networks.ActorNetwork)
    agent = ReinforceConfig(baseline=True, value_coefficient=0.1, normalize_returns=False).agent(
        SPECS
    )
    assert isinstance(agent.network, networks.ActorValueNetwork)
    assert (agent.value_coefficient, agent.normalize_returns) == (0.1, False)


def test_a2c_and_impala():
    agent = A2cConfig(lambda_=0.5, entropy_coefficient=0.1, normalize_rewards=True).agent(SPECS)
    assert (agent.lambda_, agent.entropy_coefficient, agent.normalize_rewards) == (0.5, 0.1, True)
    agent = ImpalaConfig(clip_rho=2.0, clip_c=0.5).agent(SPECS)
    assert (agent.clip_rho, agent.clip_c, agent.clip_ratio, agent.normalize_observations) == (
        2.0,
        0.5,
        None,
        True,
    )
    assert ImpalaConfig(clip_ratio=0.3).agent(SPECS).clip_ratio == 0.3

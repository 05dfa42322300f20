"""The policy of a trained agent: what it is asked, in the environment's terms, and its weights."""

import dataclasses

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents import evaluation
from jax_agents.envs import classic
from jax_agents.envs.specs import SpecError
from jax_agents.experiments import DqnConfig, Trainer
from jax_agents.experiments.configs.value_based import R2d2Config
from jax_agents.experiments.trained import introspection
from jax_agents.experiments.trained.weights import WeightsError, export_weights


@pytest.fixture(scope="module")
def trainer():
    """A trainer of DQN that has made a report."""
    trainer = Trainer(
        DqnConfig(warmup_steps=20, steps_per_report=60, hidden=(16,)), "CartPole-v1", replay="host"
    )
    trainer.train()
    yield trainer
    trainer.close()


def play(trainer, seed):
    """The return of an episode with `compute_action`, as a user would write it."""
    env, total, ended = gymnasium.make("CartPole-v1"), 0.0, False
    observation, _ = env.reset(seed=seed)
    while not ended:
        observation, reward, terminated, truncated, _ = env.step(
            trainer.compute_action(observation)
        )
        total, ended = total + reward, terminated or truncated
    return total


def test_a_trainers_actions_are_those_of_evaluation(trainer):
    env = trainer.make_environment()
    expected = evaluation.compute_returns(
        env, trainer.agent.policy, 1, trainer.policy_params, seed=11
    )
    assert play(trainer, seed=11) == expected[0]
    # anything that the space's dtype can be made of
    action = trainer.compute_action([0.1, 0.2, 0.3, 0.4])
    assert action in (0, 1) and isinstance(action, int)
    explored = [trainer.compute_action(np.zeros(4), explore=True) for _ in range(40)]
    assert set(explored) == {0, 1}
    with pytest.raises(SpecError, match="shape"):
        trainer.compute_action(np.zeros(3))


def test_batches_are_cast_and_what_does_not_fit_is_named(trainer):
    policy, row = trainer.get_policy(), [0.1, 0.2, 0.3, 0.4]
    for batch in ([row], np.array([row]), np.array([row], np.float32), jnp.array([row])):
        np.testing.assert_array_equal(
            policy.q_values(batch), policy.q_values(jnp.array([row], jnp.float32))
        )
        assert policy.action_distribution(batch).log_prob(np.array([1])).shape == (1,)
    with pytest.raises(
        SpecError, match=r"observation: expected \[batch\] x float32\[4\], got float32\[1,3\]"
    ):
        policy.q_values([row[:3]])
    coded = Trainer(DqnConfig(hidden=(8,)), "FrozenLake-v1", replay="host")
    assert coded.get_policy().q_values(coded.preprocessor.transform(3)).shape == (4,)
    with pytest.raises(SpecError, match=r"Give what trainer.preprocessor.transform"):
        coded.get_policy().q_values(np.array([0, 1]))
    coded.close()


def test_a_memory_is_handed_on():
    with_memory = Trainer(
        R2d2Config(hidden=(4,), core_size=4, num_envs=1), "CartPole-v1", replay="host"
    )
    states, carries = with_memory.agent.policy.initial_state(), []
    for _ in range(2):
        action, states = with_memory.compute_action(np.ones(4), states)
        assert action in (0, 1)
        carries.append(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(states)]))
    # the second step went on from the first
    assert carries[0].any() and not np.allclose(carries[0], carries[1])
    fresh = introspection.compute_action(
        with_memory.agent, with_memory.policy_params, np.ones(4, np.float32)
    )[1]
    np.testing.assert_array_equal(
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(fresh)]), carries[0]
    )
    with_memory.close()


def test_a_trainers_weights(trainer, tmp_path):
    policy, observation = trainer.get_policy(), np.ones((3, 4), np.float32)
    weights, before = policy.get_weights(), np.asarray(policy.q_values(observation))
    policy.set_weights(jax.tree.map(np.zeros_like, weights))
    np.testing.assert_array_equal(policy.q_values(observation), 0.0)
    path = export_weights(
        dataclasses.replace(trainer.train_state, params=weights), tmp_path / "weights.npz"
    )
    trainer.import_weights(path)
    np.testing.assert_array_equal(policy.q_values(observation), before)
    with pytest.raises(WeightsError, match="q/params/Dense_0/bias: expected"):
        trainer.import_weights({"q/params/Dense_0/bais": np.zeros(2)})
    trainer.train()  # and goes on
    assert (policy.value(observation) != before.max(axis=1)).any()
    assert policy.parameter_table().splitlines()[-1].split() == [
        "total",
        str(4 * 16 + 16 + 16 * 2 + 2),
    ]
    assert policy.action_distribution(observation).probs.shape == (3, 2)
    assert policy.return_distribution(observation).atoms.shape == (3, 2, 1)


def test_a_trainer_on_device():
    on_device = Trainer(
        DqnConfig(warmup_steps=8, steps_per_report=16, hidden=(4,)),
        classic.CartPole(),
        runner="device",
    )
    assert int(on_device.compute_action(np.zeros(4))) in (0, 1)  # float64 is cast
    on_device.get_policy().set_weights(
        jax.tree.map(np.zeros_like, on_device.get_policy().get_weights())
    )
    np.testing.assert_array_equal(on_device.get_policy().q_values(np.ones((2, 4), np.float32)), 0.0)
    assert "CartPole" in repr(on_device)
    on_device.close()

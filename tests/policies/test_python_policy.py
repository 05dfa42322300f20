"""Policies in plain Python act in drivers, evaluation and videos, and are refused on device."""

import dataclasses

import jax
import numpy as np
import pytest

from jax_agents import drivers, envs, evaluation, policies
from jax_agents.envs.types import PolicyStep


def balance(observation):
    """A rule that branches, which cannot be traced."""
    return 1 if observation[2] + 0.4 * observation[3] > 0 else 0


@pytest.mark.parametrize("num_envs", [None, 3])
def test_a_rule_balances_the_pole(num_envs):
    env = envs.gym.make("CartPole-v1", num_envs)
    policy = policies.PythonPolicy(env.specs.action, balance)
    assert evaluation.compute_avg_return(env, policy, num_episodes=3) > 150
    greedy = policies.GreedyPolicy(policy)
    assert evaluation.compute_avg_return(env, greedy, num_episodes=3) > 150
    env.close()


class Alternating:
    """Keeps an attribute: acts by turns, however often it was asked."""

    def __init__(self):
        self.asked = 0

    def initial_state(self, batch_shape=()):
        return ()

    def action(self, params, time_step, state=(), key=None):
        self.asked += 1
        return PolicyStep(np.int32(self.asked % 2), state)

    def distribution(self, params, time_step, state=()):
        raise NotImplementedError


def test_a_policy_that_keeps_attributes_is_asked_for_every_row():
    actions = []
    env = envs.gym.make("CartPole-v1")
    policy = Alternating()
    driver = drivers.Driver(env, policy, [lambda row: actions.append(int(row.action))])
    driver.run(num_rows=6)
    assert actions == [1, 0, 1, 0, 1, 0]
    policy.asked = 1  # a changed attribute is seen
    driver.run(num_rows=1)
    assert actions[-1] == 0
    env.close()


def test_a_video_of_a_rule(tmp_path):
    env = envs.gym.make("CartPole-v1")
    policy = policies.PythonPolicy(env.specs.action, balance)
    path = evaluation.create_policy_eval_video(env, policy, tmp_path / "rule.mp4", num_episodes=1)
    assert path.stat().st_size > 1_000
    env.close()


@dataclasses.dataclass
class Changeable(Alternating):
    asked: int = 0


@dataclasses.dataclass(frozen=True)
class Unhashable(Alternating):
    actions: list = dataclasses.field(default_factory=lambda: [1])


def test_only_frozen_dataclasses_all_the_way_down_are_compiled():
    env = envs.classic.CartPole()
    random = policies.RandomPolicy(env.specs.action)
    assert policies.is_pure(random) and policies.is_pure(policies.VersionedPolicy(random))
    rule = policies.PythonPolicy(env.specs.action, balance)
    for policy in (rule, policies.GreedyPolicy(rule), Alternating(), Changeable(), Unhashable()):
        assert not policies.is_pure(policy)
        with pytest.raises(TypeError, match=r"plain Python.*drivers.Driver.*frozen=True"):
            policies.check_pure(policy)
    policies.check_pure(random)


def test_actions_have_the_dtype_and_shape_of_the_spec():
    spec = envs.specs.BoundedSpec((1,), np.float32, -2.0, 2.0)
    policy = policies.PythonPolicy(spec, lambda observation: 0.5)
    step = envs.restart(np.zeros((2, 3), np.float32), batch_shape=(2,))
    action = policy.action((), step).action
    assert action.shape == (2, 1) and action.dtype == np.float32
    assert float(policy.distribution((), envs.restart(np.zeros(3))).action.mode()[0]) == 0.5


def test_dict_observations_and_keys_reach_the_rule():
    seen = []
    policy = policies.PythonPolicy(
        envs.specs.DiscreteSpec(2), lambda observation: seen.append(observation) or 1
    )
    observation = {"a": np.arange(4.0).reshape(2, 2), "action_mask": np.ones((2, 2), bool)}
    policies.act(
        policy, (), envs.restart(observation, batch_shape=(2,)), (), jax.random.key(0), np.int32(0)
    )
    np.testing.assert_array_equal(seen[1]["a"], [2.0, 3.0])
    assert seen[1]["action_mask"].all()

"""Local inference against a server that only takes notes: keys, batches, versions, refusals."""

import jax
import numpy as np
import pytest

from jax_agents.envs.time_step import restart, transition
from jax_agents.policies.policy import act
from jax_agents.serving import LocalPolicyClient, MessageError
from jax_agents.serving.parameters import named_arrays

OBSERVATION = np.array([0.01, -0.02, 0.03, 0.04], np.float32)


class Noting(LocalPolicyClient):
    """Answers its own requests as a server would, and notes them."""

    def __init__(self, agent, state, training=False, **arguments):
        super().__init__("http://127.0.0.1:1", agent, **arguments)
        self.training = training
        self.server_version = 0
        self.notes = []
        self.arrays = named_arrays(agent.policy_params(state))

    def request(self, method, path, body=None):
        self.notes.append((path.rpartition("/")[2], body))
        answer = {"version": self.server_version}
        if path == "/episodes":
            answer |= {"episode_id": str(len(self.notes)), "training": self.training}
        return answer

    def get_parameters(self, newer_than=-1):
        self.notes.append(("parameters", newer_than))
        fresh = newer_than < self.server_version
        return self.server_version, self.arrays if fresh else None

    def reported(self):
        return [body for name, body in self.notes if name == "log_actions"]


def test_draws_go_by_the_number_of_the_episode_and_the_step(dqn):
    agent, state = dqn
    client = Noting(agent, state, training=True, seed=3)
    client.start_episode()
    episode = client.start_episode()
    actions = []
    for _ in range(20):
        actions.append(int(client.get_action(episode, OBSERVATION)))
        client.log_returns(episode, 1.0)
    key, params = jax.random.fold_in(jax.random.key(3), 1), agent.policy_params(state)
    steps = [restart(OBSERVATION)] + 19 * [transition(OBSERVATION, reward=np.float32(1))]
    assert actions == [
        int(act(agent.collect_policy, params, step, (), key, np.int32(t)).action)
        for t, step in enumerate(steps)
    ]
    assert len(set(actions)) == 2  # it explores


def test_actions_are_reported_in_batches_with_their_rewards(dqn):
    client = Noting(*dqn, log_every=2)
    episode = client.start_episode()
    client.log_returns(episode, 7.0)  # earned by no action
    for reward in (1.0, 2.0, 3.0):
        client.get_action(episode, OBSERVATION)
        client.log_returns(episode, reward)
        client.log_returns(episode, 0.5, info="not sent")
    assert [a["reward"] for body in client.reported() for a in body["actions"]] == [1.5, 2.5]
    client.end_episode(episode, OBSERVATION, truncated=True)
    assert [a["reward"] for a in client.reported()[-1]["actions"]] == [3.5]
    assert client.notes[-1] == ("end", {"observation": OBSERVATION.tolist(), "truncated": True})
    with pytest.raises(KeyError):
        client.get_action(episode, OBSERVATION)


def test_a_batch_is_of_one_version(dqn):
    client = Noting(*dqn)
    episode = client.start_episode()
    client.get_action(episode, OBSERVATION)
    client.server_version = 5
    client.start_episode()  # which mentions the version
    client.get_action(episode, OBSERVATION)
    client.end_episode(episode, OBSERVATION)
    assert [(body["version"], len(body["actions"])) for body in client.reported()] == [
        (0, 1),
        (5, 1),
    ]
    assert [n for name, n in client.notes if name == "parameters"] == [-1, 0]


def test_newer_parameters_are_asked_for_after_a_while(dqn):
    client = Noting(*dqn, update_interval=1e-9)
    episode = client.start_episode()
    for _ in range(3):
        client.get_action(episode, OBSERVATION)
    assert [n for name, n in client.notes if name == "parameters"] == [-1, 0, 0]


@pytest.mark.parametrize("training", [False, True])
def test_log_probabilities_are_sent_where_they_are_learned_from(ppo, training):
    client = Noting(*ppo, training=training)
    episode = client.start_episode()
    client.get_action(episode, OBSERVATION)
    client.end_episode(episode, OBSERVATION)
    (action,) = client.reported()[0]["actions"]
    assert ("policy_info" in action) == training
    if training:
        assert action["policy_info"]["log_prob"] < 0


def test_actions_of_others_are_reported_in_order(dqn):
    client = Noting(*dqn)
    episode = client.start_episode()
    client.log_action(episode, OBSERVATION, 1)
    client.log_action(episode, OBSERVATION + 1, np.int32(0))
    client.end_episode(episode, OBSERVATION)
    assert [action["action"] for action in client.reported()[0]["actions"]] == [1, 0]


def test_what_is_refused(dqn):
    client = Noting(*dqn)
    episode = client.start_episode()
    with pytest.raises(MessageError, match=r"observation: expected float32\[4\]"):
        client.get_action(episode, np.zeros(3))
    with pytest.raises(MessageError, match="action: 1 of 1 numbers lie outside"):
        client.log_action(episode, OBSERVATION, 2)
    client.get_action(episode, OBSERVATION)
    with pytest.raises(MessageError, match="reward: expected a finite number"):
        client.log_returns(episode, float("nan"))
    client._episodes[episode].policy_state = np.zeros(2)
    with pytest.raises(ValueError, match="cannot follow it with a policy that has a memory"):
        client.log_action(episode, OBSERVATION, 1)
    for arguments in ({"log_every": 0}, {"update_interval": 0.0}):
        with pytest.raises(ValueError, match="log_every >= 1 and update_interval > 0"):
            Noting(*dqn, **arguments)

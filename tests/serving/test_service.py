"""The service without HTTP: who acts, what is learned from, what is refused, and clients that go
away.
"""

import asyncio

import jax
import numpy as np
import optax
import pytest

from jax_agents import agents, drivers, envs, networks, replay
from jax_agents.envs.time_step import restart
from jax_agents.envs.types import PolicyStep
from jax_agents.policies.policy import act
from jax_agents.serving import (
    LoggedAction,
    OnPolicyLearning,
    PolicyService,
    ReplayLearning,
    RequestError,
)
from jax_agents.serving.encoding import unpack_arrays
from jax_agents.serving.parameters import fill

OBSERVATION = np.array([0.01, -0.02, 0.03, 0.04], np.float32)


def constant(params, requests):
    """Stands for a policy: always action 1."""
    return PolicyStep(np.ones(len(requests.step), np.int32))


def replay_learning(dqn, **arguments):
    agent, state = dqn
    return ReplayLearning(
        agent,
        state,
        replay.HostReplay(agent.collect_data_spec, capacity=1000),
        batch_size=8,
        **arguments,
    )


def run(service, play):
    async def main():
        async with service:
            return await play(service)

    return asyncio.run(asyncio.wait_for(main(), 60))


def served_episode(service, env, seed):
    """A client's episode: its observations and the actions it was given."""

    async def play():
        time_step, seen = env.reset(seed), []
        episode = service.start_episode()
        while not time_step.is_last():
            action, _ = await service.get_action(episode, time_step.observation)
            seen.append((time_step.observation, int(action)))
            time_step = env.step(action)
            service.log_returns(episode, float(time_step.reward))
        await service.end_episode(
            episode, time_step.observation, truncated=bool(time_step.discount)
        )
        return seen

    return play()


def test_actions_are_those_of_the_training_process(dqn):
    """Twelve clients at a time get, bit for bit, the actions that a driver takes in the same
    episodes.
    """
    agent, state = dqn
    params = agent.policy_params(state)

    async def play(service):
        clients = [envs.gym.make("CartPole-v1") for _ in range(12)]
        return await asyncio.gather(
            *[served_episode(service, env, seed) for seed, env in enumerate(clients)]
        )

    episodes = run(PolicyService(agent, state, max_batch_size=8), play)
    for seed, episode in enumerate(episodes):
        rows = []
        driver = drivers.Driver(
            envs.gym.make("CartPole-v1"), agent.policy, [rows.append], seed=seed
        )
        driver.run(num_episodes=1, params=params)
        assert [action for _, action in episode] == [int(row.action) for row in rows[:-1]]
        for (observation, _), row in zip(episode, rows, strict=False):
            np.testing.assert_array_equal(observation, row.observation)


def test_exploring_draws_go_by_the_number_of_the_episode(dqn):
    agent, state = dqn
    learning = replay_learning(dqn)

    async def play(service):
        first, second = service.start_episode(), service.start_episode()
        actions = [int((await service.get_action(second, OBSERVATION))[0]) for _ in range(20)]
        await service.get_action(first, OBSERVATION)
        return actions

    got = run(
        PolicyService(agent, learning=learning, key=jax.random.key(5), max_batch_size=1), play
    )
    key, params = jax.random.fold_in(jax.random.key(5), 1), agent.policy_params(state)
    step = restart(OBSERVATION)
    assert got == [
        int(act(agent.collect_policy, params, step, (), key, np.int32(t)).action) for t in range(20)
    ]
    assert len(set(got)) == 2  # it explores


def test_a_memory_goes_on_from_call_to_call():
    """A policy with a state: each episode has its own, and logged actions move it on too."""

    class Counting:
        def initial_state(self, batch_shape=()):
            return np.zeros(batch_shape, np.int32)

    class Agent:
        specs = envs.classic.CartPole().specs
        policy = collect_policy = Counting()

        class collect_data_spec:
            policy_info = ()

        @staticmethod
        def policy_params(state):
            return state

    async def play(service):
        one, two = service.start_episode(), service.start_episode()
        seen = [int((await service.get_action(one, OBSERVATION))[0]) for _ in range(2)]
        await service.log_actions(one, [LoggedAction(OBSERVATION, np.int32(0))])
        seen.append(int((await service.get_action(one, OBSERVATION))[0]))
        return seen, int((await service.get_action(two, OBSERVATION))[0])

    service = PolicyService(
        Agent(), {"no": "parameters"}, act=lambda params, r: PolicyStep(r.state, r.state + 1)
    )
    assert run(service, play) == ([0, 1, 3], 0)


def test_what_clients_do_is_learned_from(dqn):
    learning = replay_learning(dqn, updates_per_step=0.5, warmup_steps=4, max_backlog=0)

    async def play(service):
        for _ in range(3):
            episode = service.start_episode(training_enabled=True)
            for t in range(5):
                await service.get_action(episode, OBSERVATION + t)
                service.log_returns(episode, 1.0)
                service.log_returns(episode, 0.5, info={"lives": 3})
            await service.end_episode(episode, OBSERVATION)
        silent = service.start_episode(training_enabled=False)
        await service.get_action(silent, OBSERVATION)
        off_policy = service.start_episode()
        logged = [LoggedAction(OBSERVATION, np.int32(t % 2), reward=float(t)) for t in range(3)]
        await service.log_actions(off_policy, logged)
        await service.end_episode(off_policy, OBSERVATION, truncated=True)
        while service.version < 7:
            await asyncio.sleep(0.005)
        return service.health()

    service = PolicyService(dqn[0], learning=learning, max_batch_size=1)
    health = run(service, play)
    assert learning.num_steps == 18 and learning.num_updates == (18 - 4) // 2 == int(
        service.state.step
    )
    assert len(learning.buffer) == 18 + 4  # and the boundary rows
    assert (
        health["num_steps"] == 19
        and health["episodes_finished"] == 4
        and health["episodes_open"] == 1
    )
    assert health["return_mean"] == pytest.approx((3 * 7.5 + 3) / 4) and health["num_updates"] == 7
    rewards = next(learning.buffer.as_dataset(200)).experience.reward
    assert set(np.unique(rewards)) <= {0.0, 1.0, 1.5, 2.0}


def test_an_on_policy_agent_learns_from_segments(ppo):
    agent, state = ppo
    learning = OnPolicyLearning(
        agent,
        state,
        num_segments=2,
        num_rows=8,
        num_epochs=1,
        num_minibatches=1,
        key=jax.random.key(0),
    )

    async def client(service):
        for _ in range(4):
            episode = service.start_episode()
            for t in range(6):
                await service.get_action(episode, OBSERVATION + t)
                service.log_returns(episode, 1.0)
            await service.end_episode(episode, OBSERVATION)

    async def play(service):
        await asyncio.gather(client(service), client(service))
        refused = service.start_episode()
        with pytest.raises(
            RequestError, match=r"policy_info: expected .*log_prob.* from which PpoAgent learns"
        ) as caught:
            await service.log_actions(refused, [LoggedAction(OBSERVATION, np.int32(0))])
        assert caught.value.status == 422
        await service.log_actions(
            refused, [LoggedAction(OBSERVATION, np.int32(0), {"log_prob": np.float32(-0.7)})]
        )

    service = PolicyService(agent, learning=learning, max_batch_size=2)
    run(service, play)
    assert learning.num_updates >= 1
    changed = jax.tree.map(lambda x, y: bool((x != y).any()), service.state.params, state.params)
    assert any(jax.tree.leaves(changed))


def refusal(call):
    with pytest.raises(RequestError) as caught:
        call()
    return caught.value.status, str(caught.value)


async def async_refusal(call):
    with pytest.raises(RequestError) as caught:
        await call
    return caught.value.status, str(caught.value)


def test_what_is_refused(dqn):
    agent, state = dqn

    async def play(service):
        status, message = refusal(lambda: service.start_episode(training_enabled=True))
        assert status == 409 and "does not learn" in message
        status, message = refusal(lambda: service.log_returns("gone", 1.0))
        assert status == 404 and "'gone'" in message
        episodes = [service.start_episode() for _ in range(2)]
        status, message = refusal(service.start_episode)
        assert status == 429 and "2 episodes are open" in message
        at_once = [service.get_action(episodes[0], OBSERVATION) for _ in range(2)]
        results = await asyncio.gather(*at_once, return_exceptions=True)
        assert [getattr(r, "status", 200) for r in results] == [200, 409]
        await service.end_episode(episodes[0], OBSERVATION)
        status, _ = await async_refusal(service.get_action(episodes[0], OBSERVATION))
        assert status == 404
        assert service.start_episode() not in episodes

    run(PolicyService(agent, state, max_episodes=2, act=constant), play)


def test_a_client_that_disappears_frees_its_episode(dqn):
    learning = replay_learning(dqn)

    async def play(service):
        gone = service.start_episode()
        for t in range(3):
            await service.get_action(gone, OBSERVATION + t)
        kept = service.start_episode()
        while service.health()["episodes_expired"] == 0:
            await asyncio.sleep(0.02)
            await service.get_action(kept, OBSERVATION)
        status, message = await async_refusal(service.get_action(gone, OBSERVATION))
        assert status == 404 and "0.3 seconds" in message
        following = service.start_episode()
        assert service._episodes.find(following).stream == 0  # that of the one that has gone
        for t in range(3):
            await service.get_action(following, OBSERVATION - t)
        await service.end_episode(following, OBSERVATION)
        return service.health()

    health = run(
        PolicyService(
            dqn[0], learning=learning, episode_timeout=0.3, max_batch_size=1, act=constant
        ),
        play,
    )
    assert health["episodes_expired"] == 1 and health["episodes_open"] == 1
    batch = next(learning.buffer.as_dataset(300)).experience  # no window joins the two episodes
    np.testing.assert_array_equal(batch.next_step_type[:, 0], batch.step_type[:, 1])


def test_serving_goes_on_when_learning_fails(dqn):
    learning = replay_learning(dqn)
    learning.add = lambda stream, rows, version: 1 / 0

    async def play(service):
        episode = service.start_episode()
        for _ in range(3):
            await service.get_action(episode, OBSERVATION)
        while service.health()["learning"]:
            await asyncio.sleep(0.005)
        await service.get_action(episode, OBSERVATION)
        status, message = refusal(lambda: service.start_episode(training_enabled=True))
        assert status == 409 and "ZeroDivisionError" in message
        return service.health()

    assert (
        "ZeroDivisionError"
        in run(PolicyService(dqn[0], learning=learning, act=constant), play)["learning_error"]
    )


def test_parameters_for_clients_that_act(dqn):
    async def play(service):
        version, data = service.parameters()
        assert service.parameters()[1] is data  # packed once
        return version, unpack_arrays(data)

    version, arrays = run(PolicyService(*dqn, act=constant), play)
    assert version == 0
    np.testing.assert_array_equal(
        arrays["params/q/params/Dense_0/kernel"], dqn[1].params["q"]["params"]["Dense_0"]["kernel"]
    )


def test_an_agent_without_rows_or_with_keys_among_its_parameters():
    """Evolution strategies: they act, and clients get their parameters."""
    specs = envs.classic.CartPole().specs
    agent = agents.EsAgent(
        specs, networks.ActorNetwork(specs.action, (4,)), optax.sgd(0.1), population_size=2
    )

    async def play(service):
        episode = service.start_episode()
        await service.log_actions(episode, [LoggedAction(OBSERVATION, np.int32(0))])
        await service.get_action(episode, OBSERVATION)
        return service.parameters()[1]

    state = agent.init(jax.random.key(0))
    arrays = unpack_arrays(run(PolicyService(agent, state, act=constant), play))
    template = jax.eval_shape(agent.policy_params, state)
    filled = fill(template, arrays)
    assert filled["noise_key"] == agent.policy_params(state)["noise_key"]


def test_arguments_that_do_not_go_together(dqn):
    with pytest.raises(ValueError, match="either a state to serve, or learning"):
        PolicyService(dqn[0])
    with pytest.raises(ValueError, match="episode_timeout"):
        PolicyService(*dqn, episode_timeout=0)

"""Batches of requests: bit for bit the policy's own answers, closed in time, and one failure does
not end the service.
"""

import asyncio
import dataclasses
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import jax
import numpy as np
import pytest

from jax_agents.envs.time_step import restart
from jax_agents.envs.types import PolicyStep
from jax_agents.policies.policy import act
from jax_agents.serving.batching import ActionBatcher, ActionRequest, act_on_batch


def requests(count):
    observations = np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)
    return [
        ActionRequest(restart(o), (), np.int32(i % 3), np.int32(i))
        for i, o in enumerate(observations)
    ]


@asynccontextmanager
async def running(batcher):
    task = asyncio.create_task(batcher.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def sums(sizes):
    """Stands for a policy: the sum of each observation; notes the batch sizes."""

    def act(params, batch):
        sizes.append(len(batch.step))
        return PolicyStep(batch.time_step.observation.sum(axis=1))

    return act


@pytest.fixture
def executor():
    with ThreadPoolExecutor(1) as executor:
        yield executor


def answers(batcher, wanted):
    async def ask():
        async with running(batcher):
            return await asyncio.gather(*map(batcher.action, wanted))

    return asyncio.run(ask())


@pytest.mark.parametrize("which", ["policy", "collect_policy"])
def test_each_answer_is_the_policys_own_bit_for_bit(dqn, executor, which):
    """In batches of every size, with padding; and for the exploring policy, whose draws go by
    episode and step.
    """
    agent, state = dqn
    policy, params, key = getattr(agent, which), agent.policy_params(state), jax.random.key(7)
    wanted = requests(40)
    alone = [
        act(policy, params, r.time_step, r.state, jax.random.fold_in(key, r.episode), r.step).action
        for r in wanted
    ]
    batcher = ActionBatcher(
        policy, lambda: (3, params), key, executor, max_batch_size=16, max_wait=1.0
    )
    got = answers(batcher, wanted)
    assert batcher.num_requests == 40 and batcher.num_batches == 3  # 16, 16 and 8
    assert [int(step.action) for step, _ in got] == [int(a) for a in alone]
    assert {version for _, version in got} == {3}


def test_mapped_values_equal_unbatched_ones_where_vectorised_ones_do_not(dqn):
    """Why `exact` maps: the numbers behind the actions are the same bits in a batch of any size."""
    agent, state = dqn
    params, wanted = agent.policy_params(state), requests(64)

    @dataclasses.dataclass(frozen=True, eq=False)
    class Values:
        def initial_state(self, batch_shape=()):
            return ()

        def action(self, params, time_step, state, key):
            return PolicyStep(agent.q_values(params, time_step.observation))

    policy = Values()
    alone = np.stack(
        [act(policy, params, r.time_step, (), jax.random.key(0), r.step).action for r in wanted]
    )
    batch = jax.tree.map(lambda *leaves: np.stack(leaves), *wanted)
    for size in (1, 2, 8, 64):
        part = jax.tree.map(lambda x, size=size: x[:size], batch)
        exact = act_on_batch(policy, True, params, part, jax.random.key(0)).action
        np.testing.assert_array_equal(np.asarray(exact), alone[:size])
        vectorised = act_on_batch(policy, False, params, part, jax.random.key(0)).action
        np.testing.assert_allclose(np.asarray(vectorised), alone[:size], rtol=1e-5, atol=1e-6)


def test_draws_depend_on_episode_and_step_alone(ppo, executor):
    agent, state = ppo
    params, key = agent.policy_params(state), jax.random.key(1)

    def log_probs(wanted, max_batch_size):
        batcher = ActionBatcher(
            agent.collect_policy, lambda: (0, params), key, executor, max_batch_size=max_batch_size
        )
        return [(int(s.action), float(s.info["log_prob"])) for s, _ in answers(batcher, wanted)]

    wanted = requests(8)
    assert log_probs(wanted, 8) == log_probs(wanted[::-1], 2)[::-1]


def test_a_batch_is_padded_to_a_power_of_two_and_no_longer(executor):
    sizes = []
    batcher = ActionBatcher(
        None, lambda: (0, None), None, executor, max_batch_size=8, max_wait=10.0, act=sums(sizes)
    )
    got = answers(batcher, requests(8) + requests(8))
    np.testing.assert_allclose(
        [s.action for s, _ in got][:8],
        [r.time_step.observation.sum() for r in requests(8)],
        rtol=1e-6,
    )
    assert sizes == [8, 8]


def test_a_batch_is_closed_when_all_clients_wait(executor):
    """With a wait of a minute, three clients are answered at once, padded to four."""
    sizes = []
    batcher = ActionBatcher(
        None,
        lambda: (0, None),
        None,
        executor,
        max_wait=60.0,
        num_clients=lambda: 3,
        act=sums(sizes),
    )
    assert len(answers(batcher, requests(3))) == 3 and sizes == [4]
    sizes.clear()
    short = ActionBatcher(
        None,
        lambda: (0, None),
        None,
        executor,
        max_wait=0.01,
        num_clients=lambda: 9,
        act=sums(sizes),
    )
    assert len(answers(short, requests(3))) == 3 and sizes == [4]


def test_requests_gather_while_the_policy_is_busy(executor):
    sizes = []
    batcher = ActionBatcher(None, lambda: (0, None), None, executor, max_wait=0.0, act=sums(sizes))

    async def ask():
        async with running(batcher):
            first = asyncio.create_task(batcher.action(requests(1)[0]))
            while not sizes:  # the first one is at the policy
                await asyncio.sleep(0)
            await asyncio.gather(first, *map(batcher.action, requests(5)))

    asyncio.run(ask())
    assert sizes[0] == 1 and sum(sizes) <= 1 + 8 and len(sizes) <= 3


def test_a_failure_reaches_its_requests_and_no_others(executor):
    calls = []

    def fail_once(params, batch):
        calls.append(len(batch.step))
        if len(calls) == 1:
            raise RuntimeError("broken")
        return PolicyStep(batch.step)

    batcher = ActionBatcher(
        None, lambda: (0, None), None, executor, max_batch_size=2, act=fail_once
    )

    async def ask():
        async with running(batcher):
            return await asyncio.gather(*map(batcher.action, requests(4)), return_exceptions=True)

    got = asyncio.run(ask())
    assert [isinstance(g, RuntimeError) for g in got] == [True, True, False, False]


def test_each_batch_is_of_one_version(executor):
    published = [(0, "a")]
    seen = []

    def swap(params, batch):
        published[0] = (published[0][0] + 1, "b")  # published while the batch is at the policy
        seen.append(params)
        return PolicyStep(batch.step)

    batcher = ActionBatcher(None, lambda: published[0], None, executor, max_batch_size=2, act=swap)
    got = answers(batcher, requests(4))
    assert [version for _, version in got] == [0, 0, 1, 1] and seen == ["a", "b"]


def test_compiles_for_powers_of_two_only(dqn, executor):
    agent, state = dqn

    def batcher():
        key = jax.random.key(0)
        return ActionBatcher(
            agent.policy, lambda: (0, agent.policy_params(state)), key, executor, max_batch_size=4
        )

    batcher().warm_up(requests(1)[0].time_step)
    compiled = act_on_batch._cache_size()
    for count in (1, 2, 3, 4, 7):
        answers(batcher(), requests(count))
    assert act_on_batch._cache_size() == compiled


@pytest.mark.parametrize(
    "arguments", [{"max_batch_size": 6}, {"max_batch_size": 0}, {"max_wait": -1.0}]
)
def test_numbers_out_of_range(executor, arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        ActionBatcher(None, lambda: (0, None), None, executor, **arguments)


def test_a_policy_in_plain_python_is_refused(executor):
    """Compiled, it would run once and never again."""

    class Rule:
        def initial_state(self, batch_shape=()):
            return ()

        def action(self, params, time_step, state=(), key=None):
            return PolicyStep(np.int32(time_step.observation[0] > 0))

    with pytest.raises(TypeError, match="Rule is a policy in plain Python"):
        ActionBatcher(Rule(), lambda: (0, None), jax.random.key(0), executor)

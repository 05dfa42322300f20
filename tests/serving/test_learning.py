"""Learning from served episodes: the ratio of updates to steps, and segments of one version."""

import jax
import numpy as np
import pytest

from jax_agents import drivers, envs, replay
from jax_agents.learners.on_policy_scan import learn
from jax_agents.serving import OnPolicyLearning, ReplayLearning


@pytest.fixture(scope="module")
def on_policy_rows(ppo):
    agent, state = ppo
    env, rows = envs.gym.make("CartPole-v1"), []
    driver = drivers.Driver(env, agent.collect_policy, [rows.append], key=jax.random.key(0), seed=0)
    driver.run(num_rows=40, params=agent.policy_params(state))
    return rows


def replay_learning(dqn, **arguments):
    agent, state = dqn
    buffer = replay.HostReplay(
        agent.collect_data_spec,
        capacity=1000,
        priority_exponent=arguments.pop("priority_exponent", None),
    )
    return ReplayLearning(agent, state, buffer, batch_size=8, **arguments)


@pytest.mark.parametrize("priority_exponent", [None, 0.6])
def test_updates_keep_to_their_ratio(dqn, rows, priority_exponent):
    learning = replay_learning(
        dqn, updates_per_step=0.5, warmup_steps=20, priority_exponent=priority_exponent
    )
    steps = 0
    for row in rows[:100]:
        learning.add(0, [row], version=0)
        steps += not row.is_last()
        while learning.advance():
            pass
        assert learning.num_steps == steps
        assert learning.num_updates == (0 if steps < 20 else (steps - 20) // 2)
    assert learning.num_updates > 30 and int(learning.state.step) == learning.num_updates
    assert learning.backlog() == 0 and learning.backlog(queued=4) == 2
    assert int(dqn[1].step) == 0  # the state given was copied, not donated


def test_streams_are_apart(dqn, rows):
    """Rows of two episodes that take turns are two streams: each window's rows follow one
    another.
    """
    learning = replay_learning(dqn)
    starts = [i for i, row in enumerate(rows) if row.step_type == 0]
    for one, two in zip(rows[: starts[1]], rows[starts[1] : 2 * starts[1]], strict=False):
        learning.add(0, [one], 0)
        learning.add(1, [two], 0)
    batch = next(learning.buffer.as_dataset(64)).experience
    np.testing.assert_array_equal(batch.next_step_type[:, 0], batch.step_type[:, 1])


def test_what_does_not_suit_the_agent(dqn, ppo):
    buffer = replay.HostReplay(dqn[0].collect_data_spec, capacity=10)
    with pytest.raises(
        TypeError, match="PpoAgent learns from its own recent rows; use OnPolicyLearning"
    ):
        ReplayLearning(*ppo, buffer)
    with pytest.raises(TypeError, match="DqnAgent learns from replay; use ReplayLearning"):
        OnPolicyLearning(*dqn, key=jax.random.key(0))
    with pytest.raises(ValueError, match="updates_per_step > 0"):
        ReplayLearning(*dqn, buffer, updates_per_step=0)
    with pytest.raises(ValueError, match="at least 1: num_segments=0"):
        OnPolicyLearning(*ppo, num_segments=0, key=jax.random.key(0))


def on_policy(ppo, **arguments):
    sizes = {"num_segments": 2, "num_rows": 4, "num_epochs": 1, "num_minibatches": 1} | arguments
    return OnPolicyLearning(*ppo, key=jax.random.key(3), **sizes)


def test_an_update_is_what_learn_makes_of_the_segments(ppo, on_policy_rows):
    agent, state = ppo
    learning = on_policy(ppo)
    for i, row in enumerate(on_policy_rows[:9]):
        assert learning.backlog() == int(i > 8) and not learning.advance()
        learning.add(0, [row], 0)
    assert learning.advance() and learning.num_updates == 1
    segments = [
        on_policy_rows[0:5],
        on_policy_rows[4:9],
    ]  # row T of the first is row 0 of the second
    stack = lambda rows: jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
    expected, _ = jax.jit(lambda s, x, key: learn(agent, s, x, key))(
        state, stack([stack(s) for s in segments]), jax.random.fold_in(jax.random.key(3), 0)
    )
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6),
        learning.state.params,
        expected.params,
    )


def test_rows_of_older_parameters_are_left_out(ppo, on_policy_rows):
    learning = on_policy(ppo)
    learning.add(0, on_policy_rows[:3], version=0)
    learning.add(
        0, on_policy_rows[3:5], version=7
    )  # of another version: what came before is no segment's beginning
    assert learning.num_dropped == 5
    learning.add(0, on_policy_rows[5:9], version=0)
    assert learning.backlog() == 0
    learning.add(0, on_policy_rows[9:10], version=0)
    learning.add(1, on_policy_rows[10:15], version=0)
    assert learning.backlog() == 1 and learning.advance()
    learning.add(0, on_policy_rows[10:], version=0)  # on their way when the update came
    assert learning.backlog() == 0


def test_a_gap_in_a_stream_begins_a_new_segment(ppo, on_policy_rows):
    learning = on_policy(ppo, num_segments=1)
    learning.add(0, on_policy_rows[:3], 0)  # the client of this episode has gone
    first = on_policy_rows[3]._replace(step_type=np.int32(0))
    learning.add(0, [first, *on_policy_rows[4:7]], 0)
    assert learning.backlog() == 0 and learning.num_dropped == 3
    learning.add(0, on_policy_rows[7:8], 0)
    assert learning.backlog() == 1

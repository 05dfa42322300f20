"""The thread that learns: what it publishes, how it stops, and how it fails."""

import asyncio
import threading
import time

import jax
import numpy as np
import pytest

from jax_agents import replay
from jax_agents.serving import ReplayLearning, RequestError, learner_thread
from jax_agents.serving.learner_thread import LearnerThread


def replay_learning(dqn, **arguments):
    agent, state = dqn
    buffer = replay.HostReplay(agent.collect_data_spec, capacity=1000)
    return ReplayLearning(agent, state, buffer, batch_size=8, **arguments)


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_the_thread_publishes_what_it_learned(dqn, rows):
    learning, published = (
        replay_learning(dqn, updates_per_step=1.0, warmup_steps=1, max_backlog=4),
        [],
    )
    thread = LearnerThread(learning, lambda version, params: published.append((version, params)))
    thread.start()
    assert published[0][0] == 0
    for row in rows[:60]:
        wait_for(lambda: not thread.behind)
        thread.add(0, [row], 0)
    steps = sum(not row.is_last() for row in rows[:60])
    wait_for(lambda: learning.num_updates >= steps - 2)
    thread.stop()
    versions = [version for version, _ in published]
    assert versions == sorted(set(versions)) and versions[-1] == learning.num_updates
    newest = learning.agent.policy_params(learning.state)
    jax.tree.map(np.testing.assert_array_equal, published[-1][1], newest)
    for _, params in published:  # none was donated to a later update
        jax.block_until_ready(jax.tree.map(lambda x: x + 0, params))


def test_the_thread_stops_with_updates_owed_and_keeps_rows(dqn, rows):
    learning = replay_learning(dqn, updates_per_step=1000.0, warmup_steps=1)
    thread = LearnerThread(learning, lambda version, params: None)
    thread.start()
    thread.add(0, rows[:50], 0)
    wait_for(lambda: learning.num_updates > 0)
    assert thread.behind
    thread.stop()
    assert learning.num_updates < 49_000
    assert "learner" not in {t.name for t in threading.enumerate() if t.is_alive()}


def test_an_error_ends_the_thread_and_is_kept(dqn, rows):
    learning = replay_learning(dqn, warmup_steps=1)
    thread = LearnerThread(learning, lambda version, params: None)
    thread.start()
    thread.add(0, [rows[0]._replace(observation=np.zeros(3, np.float32))], 0)
    wait_for(lambda: thread.error is not None)
    assert "observation" in str(thread.error) and not thread.behind
    thread.add(0, rows[:1], 0)
    thread.stop()


def test_a_call_waits_for_the_learner_and_not_for_ever(dqn, rows, monkeypatch):
    learning = replay_learning(dqn, updates_per_step=1.0, warmup_steps=1, max_backlog=2)
    thread = LearnerThread(learning, lambda version, params: None)
    for row in rows[:20]:
        learning.add(0, [row], 0)
    monkeypatch.setattr(learner_thread, "_PATIENCE", 0.01)
    with pytest.raises(RequestError, match=r"the learner is \d+ updates behind") as caught:
        asyncio.run(thread.wait())
    assert caught.value.status == 429
    while learning.advance():
        pass
    asyncio.run(thread.wait())
    assert thread.health() == {
        "learning": True,
        "num_updates": learning.num_updates,
        "num_updates_skipped": 0,
        "updates_owed": 0,
    }


def test_what_is_learned_is_saved_in_the_seconds_that_are_said_and_once(dqn, rows):
    saved = []
    learning = replay_learning(dqn, updates_per_step=1.0, warmup_steps=1)
    thread = LearnerThread(
        learning,
        lambda version, params: None,
        lambda: saved.append(learning.num_updates),
        save_seconds=0.3,
    )
    thread.start()
    time.sleep(0.5)
    assert not saved  # nothing was learned
    thread.add(0, rows[:20], 0)
    wait_for(lambda: saved)
    wait_for(lambda: learning.backlog() == 0)
    time.sleep(0.7)  # what came after the first is saved too, and nothing twice
    thread.stop()
    assert saved[-1] == learning.num_updates > 0 and len(set(saved)) == len(saved)


def test_a_checkpoint_that_cannot_be_written_is_told_and_tried_again(dqn, rows):
    calls = []

    def save():
        calls.append(None)
        if len(calls) == 1:
            raise OSError("no space left")

    learning = replay_learning(dqn, updates_per_step=1.0, warmup_steps=1)
    thread = LearnerThread(learning, lambda version, params: None, save, save_seconds=0.2)
    thread.start()
    thread.add(0, rows[:20], 0)
    wait_for(lambda: thread.save_error is not None)
    assert "no space" in thread.health()["save_error"] and thread.health()["learning"]
    wait_for(lambda: thread.save_error is None)
    thread.stop()
    assert len(calls) >= 2 and "save_error" not in thread.health()


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan")])
def test_seconds_between_saves(dqn, seconds):
    with pytest.raises(ValueError, match="save_seconds: expected more than 0"):
        LearnerThread(replay_learning(dqn), lambda version, params: None, print, seconds)

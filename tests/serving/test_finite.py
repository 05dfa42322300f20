"""Huge numbers and updates that are not finite: refused, skipped, counted, and never saved."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import replay
from jax_agents.agents.agent import TrainState
from jax_agents.serving import (
    OnPolicyLearning,
    PolicyClient,
    PolicyServerError,
    PolicyService,
    ReplayLearning,
    serve_in_background,
)
from jax_agents.serving.finite import all_finite, keep_finite


def state(value, best=np.inf, step=1):
    return TrainState(
        {"q": {"w": jnp.full((3,), value)}},
        {},
        {"best": jnp.float32(best), "count": jnp.int32(step)},
        jnp.int32(step),
        jax.random.key(step),
        {"mean": jnp.float32(0.5)},
    )


def test_an_update_is_kept_or_left_out_as_a_whole():
    good, skipped = jax.jit(keep_finite)(state(1.0), state(2.0, best=3.0, step=2))
    assert int(skipped) == 0 and good.params["q"]["w"].tolist() == [2.0] * 3 and good.step == 2
    for bad in (np.nan, np.inf):
        kept, skipped = jax.jit(keep_finite)(state(1.0), state(bad, best=3.0, step=2))
        assert int(skipped) == 1 and kept.params["q"]["w"].tolist() == [1.0] * 3
        assert kept.step == 1 and kept.opt_state["count"] == 1 and np.isinf(kept.opt_state["best"])
        # a skipped update has used its key
        assert (
            jax.random.key_data(kept.key).tolist()
            == jax.random.key_data(jax.random.key(2)).tolist()
        )


def test_what_was_not_finite_before_is_no_reason_to_skip():
    assert int(keep_finite(state(1.0), state(2.0, step=2))[1]) == 0
    assert all_finite(state(1.0).params) and not all_finite(state(1.0).opt_state)


def replay_learning(dqn, priority_exponent=None):
    agent, start = dqn
    buffer = replay.HostReplay(
        agent.collect_data_spec, capacity=1000, priority_exponent=priority_exponent
    )
    return ReplayLearning(
        agent, start, buffer, batch_size=64, updates_per_step=1.0, warmup_steps=20
    )


def on_policy_learning(ppo):
    agent, start = ppo
    return OnPolicyLearning(
        agent,
        start,
        num_segments=1,
        num_rows=10,
        num_epochs=1,
        num_minibatches=1,
        key=jax.random.key(0),
    )


LEARNINGS = {
    "replay": lambda dqn, ppo: replay_learning(dqn),
    "prioritised": lambda dqn, ppo: replay_learning(dqn, 0.6),
    "on policy": lambda dqn, ppo: on_policy_learning(ppo),
}


BAD = {
    "a reward": {"reward": np.float32(3e38)},
    "an observation": {"observation": np.full(4, 1e38, np.float32)},
    "no number": {"reward": np.float32(np.nan)},
}
# Huber's loss and tanh bound the rest.
FATAL = {("replay", "an observation"), ("prioritised", "an observation"), ("on policy", "a reward")}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", LEARNINGS)
def test_a_learning_survives_rows_that_would_end_it(dqn, ppo, rows, name, bad):
    """The rows come past all limits; later ones are learned from."""
    learning = LEARNINGS[name](dqn, ppo)
    info = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), learning.agent.collect_data_spec)
    for i, row in enumerate(rows[:60]):
        given = row._replace(policy_info=info.policy_info)
        learning.add(0, [given._replace(**BAD[bad]) if i == 5 else given], learning.num_updates)
        while learning.advance():
            pass
    if bad == "no number" or (name, bad) in FATAL:
        assert learning.num_skipped > 0
    assert all_finite(learning.state.params) and all_finite(learning.state.target_params)
    assert int(learning.state.step) == learning.num_updates
    if name == "on policy":
        assert learning.num_updates > 0


OBSERVATION = [0.0] * 4
HUGE = [0.0, 1e38, 0.0, 0.0]
ATTACKS = {
    "an observation": lambda c, e: c.get_action(e, HUGE),
    "the first of two": lambda c, e: (c.get_action(e, HUGE), c.get_action(e, OBSERVATION)),
    "a reward": lambda c, e: (c.get_action(e, OBSERVATION), c.log_returns(e, 3e38)),
    "rewards": lambda c, e: (
        c.get_action(e, OBSERVATION),
        [c.log_returns(e, -9e8) for _ in range(2)],
    ),
    "a logged observation": lambda c, e: c.log_action(e, HUGE, 0),
    "the last observation": lambda c, e: (
        c.get_action(e, OBSERVATION),
        c.end_episode(e, HUGE),
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_huge_numbers_are_refused_with_a_word(dqn, name):
    learning = replay_learning(dqn)
    with serve_in_background(PolicyService(dqn[0], learning=learning, max_batch_size=1)) as address:
        client = PolicyClient(address)
        episode = client.start_episode()
        with pytest.raises(PolicyServerError, match=r"(observation|reward): .*1e\+09.* scale"):
            ATTACKS[name](client, episode)
        health = client.health()
    assert health["learning"] and health["num_updates_skipped"] == 0


def test_health_counts_the_updates_that_were_skipped(dqn):
    """With the limit taken away, huge numbers reach the learner."""
    learning = replay_learning(dqn)
    service = PolicyService(dqn[0], learning=learning, max_batch_size=1, max_magnitude=float("inf"))
    with serve_in_background(service) as address:
        client = PolicyClient(address)
        episode = client.start_episode()
        for step in range(60):
            client.get_action(episode, HUGE if step % 10 == 3 else OBSERVATION)
            client.log_returns(episode, 3e38 if step % 10 == 5 else 1.0)
        health = client.health()
        while health["updates_owed"]:
            health = client.health()
    assert health["learning"] and health["num_updates_skipped"] > 0
    assert all_finite(learning.state.params)


def test_an_optimizer_that_makes_nothing_finite_is_told(dqn, rows):
    agent, _ = dqn
    agent = type(agent)(
        agent.specs, agent.network, optax.scale(float("nan")), epsilon=agent.epsilon
    )
    learning = replay_learning((agent, agent.init(jax.random.key(0))))
    learning.add(0, rows[:40], 0)
    while learning.advance():
        pass
    assert learning.num_updates == 0 and learning.num_skipped > 0 and learning.backlog() == 0

"""Which episodes are open, whose turn it is, and who gets which stream."""

import pytest

from jax_agents.serving.messages import RequestError
from jax_agents.serving.open_episodes import OpenEpisodes


def test_a_freed_stream_goes_to_the_next_episode_that_is_learned_from():
    episodes = OpenEpisodes(600.0, 10)
    ids = [episodes.start(training, (), version=3) for training in (True, False, True, True)]
    assert [episodes.find(i).stream for i in ids] == [0, None, 1, 2]
    assert [int(episodes.find(i).number) for i in ids] == [0, 1, 2, 3] and len(set(ids)) == 4
    assert (episodes.count(True), episodes.count(False)) == (3, 1) and episodes.find(
        ids[0]
    ).version == 3
    episodes.finish(ids[3])
    episodes.finish(ids[0])
    following = [episodes.start(True, (), version=4) for _ in range(3)]
    assert [episodes.find(i).stream for i in following] == [
        0,
        2,
        3,
    ]  # the lowest that is free, then a new one
    assert int(episodes.find(following[0]).number) == 4


def test_one_call_of_an_episode_at_a_time():
    episodes = OpenEpisodes(600.0, 1)
    episode = episodes.start(False, (), version=0)
    with pytest.raises(ZeroDivisionError), episodes.turn(episode):
        with pytest.raises(RequestError, match="another call") as caught, episodes.turn(episode):
            raise AssertionError("two at a time")
        assert caught.value.status == 409
        1 / 0  # noqa: B018
    with episodes.turn(episode) as again:  # an error ends a turn too
        assert again.busy
    assert not again.busy
    with pytest.raises(RequestError, match="1 episodes are open") as caught:
        episodes.start(False, (), version=0)
    assert caught.value.status == 429
    episodes.finish(episode)
    with pytest.raises(RequestError, match="idle for 600 seconds") as caught:
        episodes.find(episode)
    assert caught.value.status == 404


def test_the_idle_are_freed_except_during_a_call():
    episodes = OpenEpisodes(5.0, 10)
    idle, calling, alive = (episodes.start(True, (), version=0) for _ in range(3))
    with episodes.turn(calling):
        for episode in (idle, calling):
            episodes.find(episode).last_seen -= 10.0
        episodes.expire()
        assert episodes.health()["episodes_expired"] == 1 and episodes.count(True) == 2
    episodes.expire()  # the end of a call counts as having been heard of
    assert episodes.find(calling).stream == 1 and episodes.find(alive).stream == 2
    with pytest.raises(RequestError):
        episodes.find(idle)


def test_means_are_over_the_episodes_that_ended():
    episodes = OpenEpisodes(600.0, 10)
    assert episodes.health()["return_mean"] is None
    for total, steps in ((3.0, 10), (5.0, 30)):
        episode = episodes.start(False, (), version=0)
        episodes.find(episode).recorder.total_reward, episodes.find(episode).recorder.num_steps = (
            total,
            steps,
        )
        episodes.finish(episode)
    health = episodes.health()
    assert (health["return_mean"], health["length_mean"]) == (4.0, 20.0)
    assert (health["episodes_open"], health["episodes_finished"], health["episodes_expired"]) == (
        0,
        2,
        0,
    )

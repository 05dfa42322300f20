"""The actor of a learner without its process, and what errors of Ray become."""

from types import SimpleNamespace

import numpy as np
import pytest

from jax_agents.learners import LearnerError
from jax_agents.learners.group_actor import LearnerActor, get_results
from jax_agents.learners.sharding import Part

ray = pytest.importorskip("ray")


def test_an_actor_hands_parts_on_and_averages_by_size():
    calls = []
    learner = SimpleNamespace(
        gradients=lambda *given: calls.append(given) or ("mean", {}),
        apply=lambda mean, timesteps: {"mean": mean, **timesteps},
    )
    actor = LearnerActor(lambda: learner)
    assert actor.call(lambda one, x, y: (one is learner, x + y), 1, 2) == (True, 3)
    assert actor.gradients(Part("batch", "weights", 5, 2), {"t": 1}) == ("mean", {})
    assert calls == [("batch", {"t": 1}, "weights", 5)]
    got = actor.apply({"t": 1}, [3, 1], *map(np.float32, (1.0, 5.0)))
    assert got == {"mean": 2.0, "t": 1}


class Answers:
    """Stands for `ray.get`: answers of each reference, or errors."""

    def __init__(self, *answers):
        self.answers = answers

    def __call__(self, ref, timeout):
        answer = self.answers[ref]
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_results_come_in_order(monkeypatch):
    monkeypatch.setattr(ray, "get", Answers("a", "b"))
    assert get_results([0, 1], 2, 1.0) == ["a", "b"]


def test_a_learner_that_is_late_or_dead_is_named(monkeypatch):
    late = ray.exceptions.GetTimeoutError("late")
    monkeypatch.setattr(ray, "get", Answers("a", late))
    with pytest.raises(
        LearnerError, match=r"learner 1 of 2 did not answer in 3.0 s.*raise timeout"
    ):
        get_results([0, 1], 2, 3.0)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    with pytest.raises(LearnerError, match=r"did not start in 3.0 s: .*2 CPUs and 0 GPUs in all"):
        get_results([0, 1], 2, 3.0, starting=True)
    monkeypatch.setattr(ray, "get", Answers(ray.exceptions.ObjectLostError("0" * 56, None, "")))
    with pytest.raises(LearnerError, match=r"learner 0 of 1 has died. The group cannot go on"):
        get_results([0], 1, 3.0)
    with pytest.raises(LearnerError, match="learner 0 of 1 could not be built"):
        get_results([0], 1, 3.0, starting=True)

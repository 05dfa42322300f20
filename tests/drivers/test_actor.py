"""The rules of supervision, and the calls that an actor has not answered."""

import pytest

from jax_agents.drivers import Failure, Supervision
from jax_agents.drivers.actor import Slot, describe_failure, host_class


@pytest.mark.parametrize(
    ("name", "value"),
    [("timeout", 0.0), ("start_timeout", -1.0), ("max_restarts", -1), ("backoff", -0.1)],
)
def test_rules_out_of_range(name, value):
    with pytest.raises(ValueError, match=rf"expected max_restarts >= 0.*{name}={value}"):
        Supervision(**{name: value})
    assert Supervision(max_restarts=0, backoff=0.0).timeout == 60.0


@pytest.mark.parametrize("cause", ["error", "died", "hung"])
def test_a_failure_in_words(cause):
    verb = {"error": "raised"}.get(cause, cause)
    told = describe_failure(Failure(3, 1, cause, "where it was"))
    assert told == f"actor 3, generation 1, {verb}:\nwhere it was"


def test_the_time_of_the_oldest_call_is_kept(monkeypatch):
    now = iter((5.0, 6.0))
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    slot = Slot(0)
    slot.add(1, "first")
    slot.add(2, "second")
    assert slot.since == 5.0 and [call for call, _ in slot.pending] == [1, 2]


def test_a_host_builds_an_object_calls_it_and_closes_it(tmp_path):
    closed = []

    class Pair:
        def __init__(self, actor, generation):
            self.numbers = [actor, generation]

        def add(self, more):
            return sum(self.numbers) + more

        def close(self):
            closed.append(self)

    host = host_class()()
    assert host.build(Pair, 2, 3, str(tmp_path / "where"), 60.0) > 0
    assert host.call("add", 10) == 15 == host.call("add", 10)
    host.close()
    assert closed == [host.made] and (tmp_path / "where").read_text() == ""

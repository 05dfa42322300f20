"""Actors that raise, die, hang, cannot start, or are killed; made in functions, so that they are
sent by value.
"""

import os
import signal
import time

import pytest

from jax_agents.drivers import ActorError, Supervision, Supervisor


def workers():
    """What actors are in these tests."""

    class Worker:
        def __init__(self, actor, generation):
            self.actor = actor
            self.generation = generation
            self.calls = 0

        def who(self, value=None):
            self.calls += 1
            return self.actor, self.generation, self.calls, value

        def fail(self):
            raise ZeroDivisionError("a message of its own")

        def leave(self):
            os._exit(3)

        def spin(self):
            while True:
                pass

    return Worker


def collect(pool, number, seconds=240.0):
    """That many answers."""
    answers = []
    deadline = time.monotonic() + seconds
    while len(answers) < number:
        assert time.monotonic() < deadline, answers
        answers += pool.collect(timeout=1.0)
    return answers


def when_free(pool, actor, method, *args):
    while actor not in pool.free():
        assert not pool.collect(timeout=1.0)
    return pool.submit(actor, method, *args)


def test_without_actors_calls_run_here_and_raise_here():
    with Supervisor(workers(), 0, max_in_flight=1) as pool:
        assert len(pool) == 1 and pool.free() == [0]
        call = pool.submit(0, "who", "x")
        assert pool.free() == []
        with pytest.raises(RuntimeError, match="takes no call now"):
            pool.submit(0, "who")
        (answer,) = pool.collect()
        assert (answer.call, answer.value, answer.failure) == (call, (0, 0, 1, "x"), None)
        with pytest.raises(ZeroDivisionError, match="of its own"):
            pool.submit(0, "fail")
    assert pool.free() == []


def test_each_kind_of_failure_is_told_apart_and_healed(ray_on_this_machine, gone):
    failures = []
    rules = Supervision(timeout=5.0, backoff=0.1, on_failure=failures.append)
    pool = Supervisor(workers(), 2, supervision=rules)
    with pool:
        # A bounded number of calls; answers in the order of the calls of one actor.
        calls = [when_free(pool, 0, "who", i) for i in range(2)]
        assert 0 not in pool.free()
        assert [(a.call, a.value) for a in collect(pool, 2)] == [
            (calls[0], (0, 0, 1, 0)),
            (calls[1], (0, 0, 2, 1)),
        ]
        pids = {}
        for generation, (method, cause, told) in enumerate(
            [
                ("fail", "error", "a message of its own"),
                ("leave", "died", "died"),
                ("spin", "hung", "in spin"),
            ]
        ):
            call = when_free(pool, 0, method)
            pids[method] = pool.pids()[0]
            behind = pool.submit(0, "who")  # lost with it
            lost = collect(pool, 2)
            assert [a.call for a in lost] == [call, behind] and all(
                a.failure == failures[-1] for a in lost
            )
            assert failures[-1][:3] == (0, generation, cause) and told in failures[-1].message
            when_free(pool, 0, "who")  # the next one starts afresh, and the other never noticed
            when_free(pool, 1, "who")
            assert {a.value[:2] for a in collect(pool, 2)} == {(0, generation + 1), (1, 0)}
        # the traceback there
        assert 'raise ZeroDivisionError("a message of its own")' in failures[0].message
        os.kill(pool.pids()[1], signal.SIGKILL)
        call = when_free(pool, 1, "who")
        assert collect(pool, 1)[0].failure.cause == "died"
        assert pool.num_failures == {"error": 1, "died": 2, "hung": 1} and pool.num_lost == 7
        assert pool.generations() == [3, 1]
        last = [pid for pid in pool.pids() if pid]
    assert gone([*pids.values(), *last])


@pytest.mark.nightly
def test_failing_again_and_again_ends_all_actors(ray_on_this_machine):
    def make(actor, generation):
        raise OSError(f"no display in generation {generation}")

    told = []
    rules = Supervision(max_restarts=1, backoff=0.05, on_failure=told.append)
    pool = Supervisor(make, 1, supervision=rules)
    with pytest.raises(
        ActorError, match=r"(?s)2 times in a row, and max_restarts=1.*no display in generation 1"
    ):
        collect(pool, 1)
    assert [failure.cause for failure in told] == ["error"]
    assert pool.free() == [] and pool.pids() == [None]


@pytest.mark.parametrize("bad", [{"num_actors": -1}, {"max_in_flight": 0}])
def test_numbers_out_of_range(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Supervisor(workers(), **({"num_actors": 1} | bad))

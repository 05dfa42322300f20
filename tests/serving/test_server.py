"""Running a server: open requests at its end, many clients, and refusals to start."""

import concurrent.futures
import socket
import threading
import time

import numpy as np
import pytest

from jax_agents.envs.types import PolicyStep
from jax_agents.serving import PolicyClient, PolicyService, run_server, serve_in_background


def test_open_requests_are_answered_at_the_end(dqn):
    """The server is asked to stop during a policy call of half a second."""
    called = threading.Event()

    def slow(params, requests):
        called.set()
        time.sleep(0.5)
        return PolicyStep(np.ones(len(requests.step), np.int32))

    before = set(threading.enumerate())
    service = PolicyService(*dqn, act=slow, max_batch_size=1)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with serve_in_background(service) as address:
            called.clear()  # the warm-up's
            client = PolicyClient(address)
            answer = pool.submit(client.get_action, client.start_episode(), np.zeros(4))
            assert called.wait(10)
        assert answer.result(10) == 1
    assert set(threading.enumerate()) <= before  # nothing is left running


def test_many_clients_at_once(dqn):
    """Thirty-two clients, each on a connection of its own: every one gets its own answer, in few
    policy calls.
    """

    def rounded(params, requests):
        time.sleep(0.01)
        return PolicyStep((requests.time_step.observation[:, 0] > 0).astype(np.int32))

    service = PolicyService(*dqn, act=rounded, max_batch_size=32)
    with serve_in_background(service) as address, concurrent.futures.ThreadPoolExecutor(32) as pool:

        def play(sign):
            client = PolicyClient(address)
            episode = client.start_episode()
            return [client.get_action(episode, np.full(4, sign * (-1) ** t)) for t in range(5)]

        answers = list(pool.map(play, [1.0, -1.0] * 16))
        health = PolicyClient(address).health()
    assert answers == [[1, 0, 1, 0, 1], [0, 1, 0, 1, 0]] * 16
    assert health["num_steps"] == 160 and health["batch_size_mean"] > 2


def test_others_are_let_in_with_a_token_only(dqn):
    with pytest.raises(ValueError, match=r"serving at 0\.0\.0\.0 without a token"):
        run_server(PolicyService(*dqn), host="0.0.0.0")


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
@pytest.mark.parametrize("token", ["", " ", "se same", "s\u00e9same", "sesame\n"])
def test_a_token_that_protects_nothing_or_that_no_header_carries(dqn, host, token):
    with pytest.raises(ValueError, match=r"token: expected .*; give (another|one)"):
        run_server(PolicyService(*dqn), host=host, port=0, token=token)


def test_a_port_that_is_taken(dqn):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        run_server(PolicyService(*dqn), port=taken.getsockname()[1])

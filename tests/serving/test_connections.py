"""What strangers do to a server before they have shown a token: bytes without end, and silence."""

import contextlib
import socket
import time

import numpy as np
import pytest

from jax_agents.envs.types import PolicyStep
from jax_agents.serving import PolicyClient, PolicyService, serve_in_background
from jax_agents.serving.connections import ConnectionLimits

TOKEN = "sesame"
LIMITS = ConnectionLimits(
    header_bytes=10_000, request_seconds=1.0, answer_seconds=20.0, max_connections=8
)
GET = b"GET /v1/health HTTP/1.1\r\nhost: x\r\n"
POST = b"POST /v1/episodes HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"
# what comes first, and what follows again and again
ENDLESS = {
    "a header": (GET + b"x: ", b"y" * 1000),
    "a header's name": (GET, b"x" * 1000),
    "headers": (GET, b"x: " + b"y" * 100 + b"\r\n"),
    "a path": (b"GET /", b"a" * 1000),
    "a method": (b"", b"A" * 1000),
    "empty lines": (b"", b"\r\n" * 500),
    "a chunk's extension": (CHUNKED + b"1;", b"x" * 1000),
    "trailers": (CHUNKED + b"2\r\n{}\r\n0\r\n", b"x: " + b"y" * 100 + b"\r\n"),
    "a trailer": (CHUNKED + b"2\r\n{}\r\n0\r\nx: ", b"y" * 1000),
}
HALF = {
    "nothing": b"",
    "half a line": b"GET /v1/he",
    "half of the headers": GET,
    "half a body": POST + b"content-length: 100\r\n\r\n{",
    "half a chunk": CHUNKED + b"20\r\n{",
}


def always_one(params, requests):
    """Stands for a policy."""
    return PolicyStep(np.ones(len(requests.step), np.int32))


@pytest.fixture
def served(dqn):
    service = PolicyService(*dqn, max_batch_size=2, act=always_one)
    with serve_in_background(service, token=TOKEN, limits=LIMITS) as address:
        yield address


def connect(address):
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def ended(connection, seconds):
    """Reads what comes; returns it, and whether the server has hung up in time."""
    answer = b""
    stop = time.monotonic() + seconds
    while time.monotonic() < stop:
        connection.settimeout(max(0.01, stop - time.monotonic()))
        try:
            part = connection.recv(65536)
        except TimeoutError:
            break
        except ConnectionError:
            return answer, True
        if not part:
            return answer, True
        answer += part
    return answer, False


@pytest.mark.parametrize("case", ENDLESS)
def test_what_has_no_end_is_cut_off_before_anyone_has_shown_a_token(served, case):
    """Some megabytes may go out, which the sockets hold."""
    first, more = ENDLESS[case]
    with connect(served) as connection:
        sent = 0
        stop = time.monotonic() + 10
        with contextlib.suppress(ConnectionError):
            connection.sendall(first)
            while sent < 20e6 and time.monotonic() < stop:
                connection.sendall(more * 10)
                sent += len(more) * 10
            assert ended(connection, 5)[1], f"{sent} bytes were taken"
    assert sent < 20e6
    assert PolicyClient(served, TOKEN).health()["status"] == "serving"


@pytest.mark.parametrize("size", [9_000, 11_000])
def test_headers_at_once_are_counted_too(served, size):
    with connect(served) as connection:
        connection.sendall(GET + b"x: " + b"y" * size + b"\r\nconnection: close\r\n\r\n")
        answer, hung_up = ended(connection, 5)
    assert hung_up
    assert answer.startswith(b"HTTP/1.1 401" if size < LIMITS.header_bytes else b"HTTP/1.1 431")


@pytest.mark.parametrize("case", HALF)
def test_half_a_request_is_waited_for_no_longer_than_said(served, case):
    with connect(served) as connection:
        connection.sendall(HALF[case])
        began = time.monotonic()
        _, hung_up = ended(connection, 5)
        assert hung_up and time.monotonic() - began < 4


def test_a_byte_at_a_time_is_half_a_request(served):
    with connect(served) as connection:
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for _ in range(50):
                connection.sendall(b"x")
                time.sleep(0.1)
        assert time.monotonic() - began < 4


def test_half_open_connections_make_room_for_clients_that_ask(served):
    client = PolicyClient(served, TOKEN)
    with contextlib.ExitStack() as strangers:
        for _ in range(30):
            strangers.enter_context(connect(served)).sendall(GET)
            assert client.health()["status"] == "serving"  # on its first connection
        assert PolicyClient(served, TOKEN).health()["status"] == "serving"


def test_more_clients_than_there_may_be_are_told(served):
    clients = [PolicyClient(served, TOKEN) for _ in range(LIMITS.max_connections)]
    assert all(client.health() for client in clients)
    with connect(served) as connection:
        assert ended(connection, 5)[0].startswith(b"HTTP/1.1 503")
    assert all(client.health() for client in clients)


def test_a_whole_request_may_take_longer_to_answer_than_to_send(dqn):
    def slow(params, requests):
        time.sleep(0.5)
        return PolicyStep(np.ones(len(requests.step), np.int32))

    limits = LIMITS._replace(request_seconds=0.2)
    service = PolicyService(*dqn, max_batch_size=1, act=slow)
    with serve_in_background(service, limits=limits) as address:
        client = PolicyClient(address)
        assert client.get_action(client.start_episode(), np.zeros(4)) == 1


@pytest.mark.parametrize("case", HALF)
def test_a_server_ends_at_once_whatever_is_half_sent(dqn, case):
    service = PolicyService(*dqn, max_batch_size=2, act=always_one)
    with connect_at_the_end(service) as connection:
        connection.sendall(HALF[case])
        time.sleep(0.2)
        began = time.monotonic()
    assert time.monotonic() - began < 4


@contextlib.contextmanager
def connect_at_the_end(service):
    """A connection that stays open while the server ends."""
    with contextlib.ExitStack() as stack, serve_in_background(service) as address:
        connection = stack.enter_context(connect(address))
        yield connection

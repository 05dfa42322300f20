"""Errors of gRPC, and what they become."""

import time

import pytest

grpc = pytest.importorskip("grpc")

from jax_agents.replay.remote.connection import Connection, import_grpc  # noqa: E402


class Failed(grpc.RpcError):
    def __init__(self, code):
        self._code = code

    def code(self):
        return self._code

    def details(self):
        return "details"


@pytest.fixture
def connection():
    connection = Connection("localhost:1", timeout=0.3)
    yield connection
    connection.close()


def test_a_server_that_is_not_there(connection):
    begin = time.monotonic()
    with pytest.raises(ConnectionError, match=r"localhost:1 .*is it running"):
        connection.ask("ServerInfo", b"")
    assert 0.2 < time.monotonic() - begin < 5


@pytest.mark.parametrize(
    ("code", "error", "transient"),
    [
        (grpc.StatusCode.UNAVAILABLE, ConnectionError, True),
        (grpc.StatusCode.NOT_FOUND, ValueError, False),
        (grpc.StatusCode.INVALID_ARGUMENT, RuntimeError, False),
    ],
)
def test_errors_name_the_server(connection, code, error, transient):
    failed = Failed(code)
    assert connection.code(failed) == code.name and connection.is_transient(failed) == transient
    explained = connection.explain(failed)
    assert type(explained) is error and "localhost:1" in str(explained)


def test_errors_of_another_origin_stay_as_they_are(connection):
    error = KeyError("x")
    assert connection.explain(error) is error
    assert connection.code(error) == connection.code(None) == ""
    assert not connection.is_transient(error) and connection.is_transient(ConnectionResetError())


def test_without_grpc_the_error_says_how_to_install_it(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(ImportError, match=r'pip install "jax-agents\[remote\]"'):
        import_grpc()

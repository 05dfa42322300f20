"""The description of a server's tables, and what it listens on; tests/replay/remote runs one."""

import json
import os
import socket

import pytest

from jax_agents.replay import has_reverb
from jax_agents.replay.reverb import server

needs_reverb = pytest.mark.skipif(not has_reverb(), reason="Reverb is not installed")


def test_tables_from_a_file(tmp_path):
    file = tmp_path / "tables.json"
    file.write_text(
        json.dumps(
            [
                {"name": "a", "capacity": 10},
                {"name": "b", "priority_exponent": 0.5, "stride": 4, "capacity": 10},
            ]
        )
    )
    first, second = server.read_tables(file)
    assert (first.max_items, second.max_items, second.priority_exponent) == (9, 3, 0.5)
    for text, told in (
        ("{", "not JSON"),
        ("[]", "list of tables"),
        ('[{"size": 1}]', r"unknown settings \['size'\]"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=told):
            server.read_tables(file)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"capacity": 0}, "capacity must be an integer"),
        ({"capacity": 3, "sequence_length": 4}, "cannot hold one window"),
        ({"min_size": 50, "capacity": 50}, "capacity=50 rows hold 49"),
        ({"min_size": 100, "capacity": 50}, "min_size=100 items can never"),
        ({"priority_exponent": -1}, "priority_exponent must be"),
        ({"name": ""}, "name must be a text"),
    ],
)
def test_tables_that_cannot_be(config, told):
    with pytest.raises(ValueError, match=told):
        server.TableDescription(**config)


@pytest.mark.skipif(has_reverb(), reason="Reverb is installed")
def test_without_reverb_it_says_where_to_run():
    with pytest.raises(ImportError, match="RemoteReplay reaches it from any Python"):
        server.ReplayServer([server.TableDescription()])


@needs_reverb
def test_servers_that_have_stopped_leave_no_files_open():
    """To find its socket, a server looks at all files of the process."""
    counts = []
    for _ in range(3):
        server.ReplayServer([server.TableDescription(capacity=10)]).stop()
        counts.append(len(os.listdir("/proc/self/fd")))
    assert counts[2] - counts[1] < 10


@needs_reverb
def test_it_answers_this_machine_alone_and_refuses_other_checkpoints(tmp_path):
    tables = [server.TableDescription(capacity=10)]
    made = server.ReplayServer(tables, checkpoint_dir=tmp_path)
    socket.create_connection(("127.0.0.1", made.port), 5).close()
    outside = [
        a[4][0]
        for a in socket.getaddrinfo(socket.gethostname(), None)
        if not a[4][0].startswith(("127.", "::1"))
    ]
    for address in outside[:1]:
        with pytest.raises(OSError):
            socket.create_connection((address, made.port), 2).close()
    with pytest.raises(OSError):
        server.ReplayServer(tables, port=made.port)
    made.checkpoint()
    made.stop()
    with pytest.raises(ValueError, match="are of other tables"):
        server.ReplayServer([server.TableDescription(capacity=11)], checkpoint_dir=tmp_path)
    again = server.ReplayServer(tables, everywhere=True)
    with pytest.raises(RuntimeError, match="keeps no checkpoints"):
        again.checkpoint()
    again.stop()
    with pytest.raises(ValueError, match="its own name"):
        server.ReplayServer([])

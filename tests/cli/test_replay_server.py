"""`jax-agents replay-server`: from its options to the tables of a server, which is not started."""

import json

import pytest

from jax_agents import cli
from jax_agents.replay.reverb import server
from jax_agents.replay.reverb.server import TableDescription


@pytest.fixture
def started(monkeypatch):
    """The arguments with which servers would have been started."""
    calls = []
    monkeypatch.setattr(server, "run", lambda tables, **options: calls.append((tables, options)))
    return calls


def test_without_options_there_is_one_table_of_the_defaults(started):
    assert cli.main(["replay-server"]) == 0
    ((tables, options),) = started
    assert tables == [TableDescription()]
    assert options == {
        "port": None,
        "everywhere": False,
        "checkpoint_dir": None,
        "checkpoint_seconds": None,
    }


def test_options_describe_the_table_and_the_server(started):
    table = "--table rows --capacity 50 --sequence-length 3 --stride 2 --min-size 4"
    place = "--port 1234 --everywhere --checkpoint-dir saved --checkpoint-seconds 2.5"
    assert cli.main(["replay-server", *table.split(), *place.split()]) == 0
    ((tables, options),) = started
    assert tables == [TableDescription("rows", 50, sequence_length=3, stride=2, min_size=4)]
    assert options == {
        "port": 1234,
        "everywhere": True,
        "checkpoint_dir": "saved",
        "checkpoint_seconds": 2.5,
    }


@pytest.mark.parametrize(("exponent", "expected"), [([], 0.6), (["--priority-exponent", "0"], 0)])
def test_the_exponent_of_a_prioritized_table(started, exponent, expected):
    assert cli.main(["replay-server", "--sampler", "prioritized", *exponent]) == 0
    assert started[0][0] == [TableDescription(priority_exponent=expected)]


def test_tables_of_a_file(started, tmp_path):
    path = tmp_path / "tables.json"
    path.write_text(json.dumps([{"name": "one"}, {"name": "two", "capacity": 7}]))
    assert cli.main(["replay-server", "--tables", str(path)]) == 0
    assert started[0][0] == [TableDescription("one"), TableDescription("two", 7)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--priority-exponent", "1"], "--priority-exponent: needs --sampler prioritized"),
        (
            ["--sampler", "uniform", "--priority-exponent", "1"],
            "--priority-exponent: needs --sampler prioritized",
        ),
        (["--tables", "x.json", "--capacity", "5"], "leave out the options of a single one"),
        (["--tables", "x.json", "--sampler", "uniform"], "leave out the options of a single one"),
        (["--tables", "/nowhere/x.json"], "/nowhere/x.json"),
        (["--capacity", "0"], "capacity"),
        (["--sampler", "newest"], "invalid choice: 'newest'"),
    ],
)
def test_mistakes_start_no_server(started, fails, arguments, message):
    assert message in fails("replay-server", *arguments)
    assert not started

"""The command's options as tables of a server; tests/replay/remote runs it as a process."""

import json

import pytest

from jax_agents import cli
from jax_agents.replay.reverb import server


@pytest.fixture
def started(monkeypatch):
    """The tables and options of the servers that the command would have run."""
    started = []
    run = lambda tables, **options: started.append((list(tables), options))
    monkeypatch.setattr(server, "run", run)
    return started


def test_the_table_is_what_the_options_say(started):
    assert cli.main(["replay-server"]) == 0
    options = ["--table", "mine", "--capacity", "50", "--sequence-length", "4", "--stride", "2"]
    options += ["--min-size", "3", "--sampler", "prioritized"]
    assert cli.main(["replay-server", *options]) == 0
    assert cli.main(["replay-server", *options, "--priority-exponent", "0"]) == 0
    tables = [table for tables, _ in started for table in tables]
    mine = {
        "name": "mine",
        "capacity": 50,
        "sequence_length": 4,
        "stride": 2,
        "min_size": 3,
    }
    assert tables == [
        server.TableDescription(),
        server.TableDescription(**mine, priority_exponent=0.6),
        server.TableDescription(**mine, priority_exponent=0.0),
    ]


def test_tables_of_a_file_and_what_all_of_them_share(started, tmp_path):
    file = tmp_path / "tables.json"
    file.write_text(json.dumps([{"name": "a", "capacity": 10}, {"name": "b", "stride": 3}]))
    arguments = ["--tables", str(file), "--port", "1234", "--everywhere"]
    arguments += ["--checkpoint-dir", "saved", "--checkpoint-seconds", "60"]
    assert cli.main(["replay-server", *arguments]) == 0
    ((tables, options),) = started
    assert tables == server.read_tables(file)
    assert [table.name for table in tables] == ["a", "b"]
    assert options == {
        "port": 1234,
        "everywhere": True,
        "checkpoint_dir": "saved",
        "checkpoint_seconds": 60.0,
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--priority-exponent", "0.5"], "--priority-exponent: needs --sampler prioritized"),
        (["--sampler", "newest"], "invalid choice: 'newest'"),
        (["--tables", "{file}", "--capacity", "5"], "leave out the options of a single one"),
        (["--tables", "{file}", "--sampler", "uniform"], "leave out the options of a single one"),
        (["--tables", "{file}"], "expected a list of tables, such as"),
        (["--tables", "nowhere.json"], "nowhere.json"),
        (["--capacity", "0"], "table 'experience': capacity must be an integer"),
        (["--capacity", "3", "--sequence-length", "4"], "cannot hold one window"),
        (["--table", ""], "a table's name must be a text, got ''"),
        (["--checkpoint-seconds", "60"], "checkpoint_seconds needs checkpoint_dir"),
        (["--checkpoint-dir", "{folder}", "--checkpoint-seconds", "0"], "must be positive, got 0"),
    ],
)
def test_mistakes_are_told_before_a_server_starts(arguments, told, fails, tmp_path):
    file = tmp_path / "tables.json"
    file.write_text("{}")
    folder = tmp_path / "saved"
    error = fails("replay-server", *(a.format(file=file, folder=folder) for a in arguments))
    assert told in error
    assert error.startswith("usage") or error.count("\n") == 1
    assert not folder.exists()


def test_a_file_without_a_name_is_no_wish_for_the_usual_table(started, capsys):
    assert cli.main(["replay-server", "--tables", ""]) == 1
    assert "Is a directory" in capsys.readouterr().err
    assert started == []


def test_without_reverb_it_says_what_to_install(monkeypatch, fails):
    monkeypatch.setattr(server, "has_reverb", lambda: False)
    error = fails("replay-server")
    assert 'a replay server needs Reverb: pip install "jax-agents[reverb]"' in error

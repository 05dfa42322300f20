import csv
import json
import os

import pytest

from jax_agents.experiments.trained import run_folder
from jax_agents.experiments.trained.run_folder import RunFolderError
from jax_agents.learners.formats import STAMP


def test_another_format_is_refused_in_one_line_that_names_the_version(tmp_path):
    params = dict.fromkeys(("run", "env", "seed", "runner", "replay", "config"), 0)
    for stamp, version in (({}, "before formats"), ({"format": 9, "version": "7.0"}, "7.0 wrote")):
        (tmp_path / "params.json").write_text(json.dumps(params | stamp))
        with pytest.raises(RunFolderError, match=version) as error:
            run_folder.read_params(tmp_path)
        assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


def reports(n):
    return [{"training_iteration": i, "loss": None if i == 1 else i / 3} for i in range(1, n + 1)]


def test_folders_have_the_names_of_what_runs_and_are_new_each_time(tmp_path):
    folders = {
        run_folder.create_run_folder(tmp_path / "runs", "DQN", "ALE/Pong-v5") for _ in range(3)
    }
    assert len(folders) == 3
    assert all(folder.is_dir() and folder.name.startswith("DQN_ALE-Pong-v5_") for folder in folders)


def test_results_are_cut_back_to_an_iteration(tmp_path):
    for report in reports(5):
        run_folder.append_result(tmp_path, report)
    assert run_folder.read_results(tmp_path) == reports(5)
    assert run_folder.cut_results(tmp_path, 3) == reports(3)
    assert run_folder.read_results(tmp_path) == reports(3)
    with open(tmp_path / "progress.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["training_iteration"] for row in rows] == ["1", "2", "3"]
    assert [row["loss"] for row in rows][:2] == ["", str(2 / 3)]
    run_folder.cut_results(tmp_path, 0)
    assert (tmp_path / "result.json").read_text() == "" == (tmp_path / "progress.csv").read_text()


def test_a_line_that_a_dead_process_left_incomplete_is_dropped(tmp_path):
    lines = "".join(map(run_folder.to_line, reports(3)))
    for end in range(len(lines)):
        (tmp_path / "result.json").write_text(lines[:end])
        complete = lines[:end].count("\n")
        assert run_folder.cut_results(tmp_path, 10) == reports(complete)
        assert (tmp_path / "result.json").read_text().count("\n") == complete


def test_reports_are_json_that_every_reader_takes(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        run_folder.append_result(tmp_path, {"loss": float("nan")})


def test_files_are_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "file"
    run_folder.write_file(path, "old")

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        run_folder.write_file(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_the_table_has_a_column_for_every_key(tmp_path):
    run_folder.write_table(tmp_path, [{"a": 1}, {"a": 2, "b": "x,y"}])
    with open(tmp_path / "progress.csv", newline="") as file:
        assert list(csv.DictReader(file)) == [{"a": "1", "b": ""}, {"a": "2", "b": "x,y"}]


def test_one_process_trains_in_a_folder_at_a_time(tmp_path):
    held = run_folder.lock(tmp_path)
    with pytest.raises(RunFolderError, match="another process is training"):
        run_folder.lock(tmp_path)
    held.close()
    run_folder.lock(tmp_path).close()


def test_params(tmp_path):
    params = {
        "run": "DQN",
        "env": "CartPole-v1",
        "seed": 0,
        "runner": "loop",
        "replay": "host",
        "config": {},
    }
    with pytest.raises(RunFolderError, match="is not the folder of a run"):
        run_folder.read_params(tmp_path)
    run_folder.write_params(tmp_path, params)
    assert run_folder.read_params(tmp_path) == params | STAMP
    (tmp_path / "params.json").write_text(json.dumps(params | STAMP)[:-5])
    with pytest.raises(RunFolderError, match=r"params\.json is damaged"):
        run_folder.read_params(tmp_path)
    (tmp_path / "params.json").write_text(json.dumps({"run": "DQN"} | STAMP))
    with pytest.raises(RunFolderError, match="it lacks config, env"):
        run_folder.read_params(tmp_path)


def test_a_run_is_found_by_its_folder_and_by_a_checkpoint(tmp_path):
    assert run_folder.find_run(tmp_path) == (tmp_path, None)
    assert run_folder.find_run(tmp_path / "checkpoints" / "checkpoint_00000012") == (tmp_path, 12)
    with pytest.raises(RunFolderError, match="there is no folder"):
        run_folder.find_run(tmp_path / "nothing")

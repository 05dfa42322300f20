"""One run, whole, killed and interrupted."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from functools import partial

import jax
import pytest

from jax_agents import cli
from jax_agents.cli import run
from jax_agents.experiments import runners
from jax_agents.experiments.trained import run_folder

FILES = {
    "params.json",
    "result.json",
    "progress.csv",
    "evaluation.json",
    "curve.png",
    "checkpoints",
}


def test_a_whole_run_and_what_can_be_done_with_it(capsys, train, only_run):
    assert cli.main(train("--steps", "200", "--checkpoint-freq", "2", "--seed", "3")) == 0
    out = capsys.readouterr().out
    folder = only_run()
    assert {path.name for path in folder.iterdir()} >= FILES
    assert list(folder.glob("events.out.tfevents*"))
    assert folder.joinpath("videos", "greedy.mp4").stat().st_size > 1000
    assert folder.joinpath("curve.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "replay: in process, as asked for" in out
    assert out.rstrip().splitlines()[-1] == f"run folder: {folder}"
    greedy = float(re.search(r"greedy average return: ([\d.]+) over 20 episodes", out)[1])
    evaluation = json.loads(folder.joinpath("evaluation.json").read_text())
    assert (
        evaluation["return_mean"] == pytest.approx(greedy, abs=0.06)
        and len(evaluation["returns"]) == 20
    )
    params = json.loads(folder.joinpath("params.json").read_text())
    assert (params["run"], params["seed"], params["replay"], params["config"]["num_steps"]) == (
        "DQN",
        3,
        "host",
        200,
    )
    results = run_folder.read_results(folder)
    assert [result["num_env_steps_sampled_lifetime"] for result in results] == [50, 100, 150, 200]
    assert sorted(path.name for path in folder.joinpath("checkpoints").iterdir()) == [
        "checkpoint_00000002",
        "checkpoint_00000004",
    ]

    # a process of its own would do the same: nothing is shared with the run but its folder
    assert cli.main(["evaluate", str(folder)]) == 0
    assert f"greedy average return: {greedy:.1f} over 20 episodes" in capsys.readouterr().out
    assert (
        cli.main(
            ["rollout", str(folder / "checkpoints" / "checkpoint_00000002"), "--episodes", "2"]
        )
        == 0
    )
    assert len(re.findall(r"episode \d: return \d+", capsys.readouterr().out)) == 2

    # an older checkpoint goes on to the same end
    resume = [
        "train",
        "--resume",
        str(folder / "checkpoints" / "checkpoint_00000002"),
        "--no-video",
    ]
    assert cli.main(resume) == 0
    assert "resumed after 100 steps, from report 2" in capsys.readouterr().out
    assert run_folder.read_results(folder)[:2] == results[:2]
    assert [result["training_iteration"] for result in run_folder.read_results(folder)] == [
        1,
        2,
        3,
        4,
    ]
    assert cli.main(["train", "--resume", str(folder), "--steps", "250", "--no-video"]) == 0
    assert [result["training_iteration"] for result in run_folder.read_results(folder)] == [
        1,
        2,
        3,
        4,
        5,
    ]


@pytest.mark.parametrize("number, memory", [(1, None), (0.2, "0.2")])
def test_a_gpu_or_a_part_of_its_memory(monkeypatch, number, memory):
    """Five runs of a fifth each share a GPU: JAX takes at its start what this variable says."""
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    run.use_gpus(number)
    assert os.environ.pop("XLA_PYTHON_CLIENT_MEM_FRACTION", None) == memory


def start(*argv):
    return subprocess.Popen(
        [sys.executable, "-m", "jax_agents", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_reports(tmp_path, process, number):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        files = list(tmp_path.glob("runs/*/result.json"))
        if files and files[0].read_text().count("\n") >= number:
            return
        time.sleep(0.01)
    raise AssertionError(f"no {number} reports: {process.communicate()[0]}")


@pytest.fixture
def kill_and_resume(tmp_path, train, only_run):
    return partial(_kill_and_resume, tmp_path, train, only_run)


def _kill_and_resume(tmp_path, train, only_run, num_kills, seed):
    # more than it makes between kills
    rng, total = (
        random.Random(seed),
        1000 if num_kills == 1 else 2000 * num_kills,
    )
    argv = train("--steps", str(total), "--checkpoint-freq", "1", "--no-video")
    kept = []
    for _ in range(num_kills):
        process = start(*argv)
        wait_for_reports(tmp_path, process, len(kept) + 1)
        time.sleep(rng.random() * 1.5)
        process.kill()
        process.communicate()
        folder = only_run()
        kept = run_folder.read_results(folder)
        steps = sorted(int(path.name[-8:]) for path in folder.glob("checkpoints/checkpoint_*"))
        kept = kept[: steps[-1]] if steps else []
        # every checkpoint's reports are on the disk
        assert len(kept) == (steps[-1] if steps else 0)
        argv = ["train", "--resume", str(folder), "--no-video"]
    process = start(*argv)
    output = process.communicate(timeout=240)[0]
    assert process.returncode == 0, output
    results = run_folder.read_results(folder)
    assert [result["training_iteration"] for result in results] == list(range(1, total // 50 + 1))
    assert [result["num_env_steps_sampled_lifetime"] for result in results] == list(
        range(50, total + 1, 50)
    )
    assert results[: len(kept)] == kept
    assert folder.joinpath("progress.csv").read_text().count("\n") == len(results) + 1
    left = sorted(path.name for path in folder.joinpath("checkpoints").iterdir())
    assert left == [f"checkpoint_{i:08}" for i in range(total // 50 - 2, total // 50 + 1)]


def test_killed_at_a_random_moment_it_resumes_without_losing_or_repeating_a_report(kill_and_resume):
    kill_and_resume(num_kills=1, seed=time.time_ns())


@pytest.mark.nightly
def test_killed_ten_times(kill_and_resume):
    kill_and_resume(num_kills=10, seed=time.time_ns())


# every runner at each signal; one quick case daily
INTERRUPTED = [
    pytest.param(
        runner,
        number,
        marks=[] if (runner, number) == ("loop", signal.SIGTERM) else pytest.mark.nightly,
        id=f"{runner}-{number.name}",
    )
    for runner in ("loop", "vector", "device", "ray")
    for number in (signal.SIGINT, signal.SIGTERM)
]


@pytest.mark.parametrize(("runner", "number"), INTERRUPTED)
def test_an_interrupted_run_saves_exits_with_the_signals_status_and_can_go_on(
    tmp_path, runner, number, train, only_run
):
    argv = train("--steps", "100000000", "--checkpoint-freq", "0", "--runner", runner)
    if runner == "device":
        del argv[argv.index("--replay") : argv.index("--replay") + 2]
    process = start(*argv)
    try:
        wait_for_reports(tmp_path, process, 1)
        process.send_signal(number)
        output = process.communicate(timeout=60)[0]
    finally:
        process.kill()
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number], output
    assert "Traceback" not in output
    folder = only_run()
    assert f"jax-agents train --resume {folder}" in output
    last = run_folder.read_results(folder)[-1]
    (checkpoint,) = (folder / "checkpoints").glob("checkpoint_*")
    assert checkpoint.name == f"checkpoint_{last['training_iteration']:08}"
    assert 0 < last["num_env_steps_sampled_lifetime"] < 100_000_000
    more = str(last["num_env_steps_sampled_lifetime"] + 1)
    process = start("train", "--resume", str(folder), "--no-video", "--steps", more)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert f"resumed after {last['num_env_steps_sampled_lifetime']:,} steps" in output


def test_a_second_signal_ends_a_run_at_once_with_that_signals_status(train, monkeypatch):
    """Each is sent within a report, in which nothing looks at the first."""

    def advance(self, num_steps):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
        raise AssertionError("the second signal did not end the report")

    monkeypatch.setattr(runners.LoopRunner, "advance", advance)
    assert cli.main(train("--steps", "100")) == 143


@pytest.mark.filterwarnings("ignore:the loss is")
def test_training_on_nan_ends_with_a_status_of_its_own(train, only_run, capsys):
    """The rate jumps to one at which the weights overflow, after finite checkpoints were saved."""
    config = {"learning_rate": 1e38, "warmup_steps": 200, "steps_per_report": 50}
    assert cli.main(train("--steps", "2000", "--checkpoint-freq", "1", config=config)) == 3
    told = capsys.readouterr().err
    folder = only_run()
    kept = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert "jax-agents: error: training is given up" in told
    assert f"the last finite checkpoint: {folder / 'checkpoints' / kept[-1]}" in told
    assert kept[-1] == "checkpoint_00000004"  # that of the warm-up
    assert len(run_folder.read_results(folder)) < 10
    assert not (folder / "evaluation.json").exists()
    assert cli.main(["evaluate", str(folder), "--episodes", "1"]) == 0

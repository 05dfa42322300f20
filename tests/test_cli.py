import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import pytest
from jax_agents import cli, replay
from jax_agents.cli import run
from jax_agents.evaluation import returns
from jax_agents.experiments import run_folder

TINY = {
    "hidden": [8],
    "warmup_steps": 50,
    "batch_size": 4,
    "steps_per_report": 50,
    "steps_per_iteration": 1,
    "replay_capacity": 500,
}
FILES = {"params.json", "result.json", "progress.csv", "evaluation.json", "curve.png", "checkpoints"}


def train(tmp_path, *more, config=TINY):
    base = ["train", "--run", "DQN", "--env", "CartPole-v1", "--replay", "host", "--config", json.dumps(config)]
    return [*base, "--out", str(tmp_path / "runs"), *more]


def only_run(tmp_path):
    (folder,) = (tmp_path / "runs").iterdir()
    return folder


def test_a_whole_run_and_what_can_be_done_with_it(tmp_path, capsys):
    assert cli.main(train(tmp_path, "--steps", "200", "--checkpoint-freq", "2", "--seed", "3")) == 0
    out = capsys.readouterr().out
    folder = only_run(tmp_path)
    assert {path.name for path in folder.iterdir()} >= FILES
    assert list(folder.glob("events.out.tfevents*"))
    assert folder.joinpath("videos", "greedy.mp4").stat().st_size > 1000
    assert folder.joinpath("curve.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "replay: in process, as asked for" in out
    assert out.rstrip().splitlines()[-1] == f"run folder: {folder}"
    greedy = float(re.search(r"greedy average return: ([\d.]+) over 20 episodes", out)[1])
    evaluation = json.loads(folder.joinpath("evaluation.json").read_text())
    assert evaluation["return_mean"] == pytest.approx(greedy, abs=0.06) and len(evaluation["returns"]) == 20
    params = json.loads(folder.joinpath("params.json").read_text())
    assert (params["run"], params["seed"], params["replay"], params["config"]["num_steps"]) == ("DQN", 3, "host", 200)
    results = run_folder.read_results(folder)
    assert [result["num_env_steps_sampled_lifetime"] for result in results] == [50, 100, 150, 200]
    assert sorted(path.name for path in folder.joinpath("checkpoints").iterdir()) == [
        "checkpoint_00000002",
        "checkpoint_00000004",
    ]

    # a process of its own would do the same: nothing is shared with the run but its folder
    assert cli.main(["evaluate", str(folder)]) == 0
    assert f"greedy average return: {greedy:.1f} over 20 episodes" in capsys.readouterr().out
    assert cli.main(["rollout", str(folder / "checkpoints" / "checkpoint_00000002"), "--episodes", "2"]) == 0
    assert len(re.findall(r"episode \d: return \d+", capsys.readouterr().out)) == 2

    # an older checkpoint goes on to the same end
    resume = ["train", "--resume", str(folder / "checkpoints" / "checkpoint_00000002"), "--no-video"]
    assert cli.main(resume) == 0
    assert "resumed after 100 steps, from report 2" in capsys.readouterr().out
    assert run_folder.read_results(folder)[:2] == results[:2]
    assert [result["training_iteration"] for result in run_folder.read_results(folder)] == [1, 2, 3, 4]
    assert cli.main(["train", "--resume", str(folder), "--steps", "250", "--no-video"]) == 0
    assert [result["training_iteration"] for result in run_folder.read_results(folder)] == [1, 2, 3, 4, 5]


def fails(capsys, *argv):
    try:
        status = cli.main(argv)
    except SystemExit as error:  # argparse's own
        status = error.code
    captured = capsys.readouterr()
    assert status == 2
    assert "Traceback" not in captured.err
    return captured.err


@pytest.mark.parametrize(
    "more, message",
    [
        (["--run", "DQM"], "no algorithm 'DQM'; did you mean 'DQN'?"),
        (["--env", "CartPol-v1"], "no environment 'CartPol-v1' is registered; did you mean CartPole-v1"),
        (["--env", "Pendulum-v1"], "expected one discrete action"),
        (["--config", '{"gama": 1}'], "no key 'gama'; did you mean 'gamma'"),
        (["--config", '{"gamma": "x"}'], "gamma: expected a number, got 'x'"),
        (["--config", "{gamma: 1}"], "--config: not JSON"),
        (["--run", "BC", "--config", "{}"], "config dataset: expected a .npz file of rows, the run folder or a checkpoint"),
        (["--run", "BC", "--config", '{"dataset": "controller"}'], "of CartPole and Pendulum alone (runner 'device'), not of"),
        (["--run", "BC", "--config", '{"dataset": "nothing.npz"}'], "nothing.npz"),
        (["--config", "[1]"], "--config: expected JSON such as"),
        (["--config", "nothing.json"], "expected JSON such as"),
        (["--stop", '{"reward": 1}'], "no result 'reward'; there are"),
        (["--stop", '{"episode_return": 1}'], "no result 'episode_return'; did you mean 'episode_return_"),
        (["--steps", "0"], "--steps: expected at least 1, got 0"),
        (["--checkpoint-freq", "-1"], "expected 0 or more"),
        (["--runner", "device", "--env", "LunarLander-v3"], "written in JAX, and 'LunarLander-v3' is not"),
        (["--runner", "devise"], "invalid choice: 'devise'"),
        (["--num-workers", "-1"], "--num-workers: expected 0 or more, got -1"),
        (["--runner", "loop", "--num-workers", "4"], "--num-workers 4: these are actors of --runner ray, got loop"),
        (["--runner", "device", "--config", '{"num_workers": 4}'], "--num-workers 4: these are actors of --runner ray"),
        (["--config", '{"num_workers": "2"}'], "num_workers: expected an integer of at least 0, got '2'"),
        (["--config", '{"monitor": 1}'], "monitor: expected true or false, got 1"),
        (["--config", '{"n_step": 60, "warmup_steps": 50}'], "50 rows in each of 1 environments hold no window of 61 rows"),
        (["--config", '{"replay_capacity": 1}'], "capacity=1 rows cannot hold one window of sequence_length=2 rows"),
        (["--run", "PPO", "--config", '{"num_minibatches": 7}'], "config num_minibatches: expected a divisor of num_envs"),
        (["--seed", "99999999999999999999"], "seed: expected 0 to"),
        (["--num-gpus", "0.5"], "--num-gpus 0.5: JAX sees no GPU here"),
        (["--num-gpus", "2"], "--num-gpus: expected a number from 0 to 1"),
        (["--num-seeds", "0"], "--num-seeds: expected at least 1"),
        (["--num-seeds", "2", "--env", "Pendulum-v1"], "expected one discrete action"),
        (["--checkpoint-freq", "1", "--checkpoint-at-end"], "not allowed with"),
        (["--resume", "."], "cannot be changed when resuming|is not the folder of a run"),
    ],
)
def test_a_users_mistake_is_one_clear_line_and_makes_no_folder(tmp_path, capsys, more, message):
    error = fails(capsys, *train(tmp_path, *more))
    assert re.search(message if "|" in message else re.escape(message), error)
    assert error.startswith("usage") or error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("number, memory", [(1, None), (0.2, "0.2")])
def test_a_gpu_or_a_part_of_its_memory(monkeypatch, number, memory):
    """Five runs of a fifth each share a GPU: JAX takes as much as this variable says when it starts."""
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    run.use_gpus(number)
    assert os.environ.pop("XLA_PYTHON_CLIENT_MEM_FRACTION", None) == memory


def test_a_missing_extra_names_the_command_that_installs_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(replay, "has_reverb", lambda: False)
    error = fails(capsys, *train(tmp_path, "--replay", "reverb"))
    assert 'pip install "jax-agents[reverb]"' in error


def test_folders_that_hold_no_run(tmp_path, capsys):
    assert "train needs --run and --env" in fails(capsys, "train")
    assert "there is no folder" in fails(capsys, "evaluate", str(tmp_path / "nothing"))
    assert "is not the folder of a run" in fails(capsys, "evaluate", str(tmp_path))
    assert "is not the folder of a run" in fails(capsys, "train", "--resume", str(tmp_path))


def test_a_damaged_checkpoint_names_the_one_to_go_on_from(tmp_path, capsys):
    assert cli.main(train(tmp_path, "--steps", "100", "--checkpoint-freq", "1", "--no-video")) == 0
    folder = only_run(tmp_path)
    damaged, before = (folder / "checkpoints" / f"checkpoint_0000000{i}" for i in (2, 1))
    next(path for path in damaged.rglob("d/*") if path.is_file()).write_bytes(b"garbage")
    capsys.readouterr()
    for command in (["evaluate", str(folder)], ["train", "--resume", str(folder)]):
        error = fails(capsys, *command)
        assert str(damaged) in error and f"the one before it is {before}" in error
    assert cli.main(["train", "--resume", str(before), "--no-video"]) == 0
    assert [result["training_iteration"] for result in run_folder.read_results(folder)] == [1, 2]
    assert cli.main(["evaluate", str(folder)]) == 0


def test_list_has_algorithms_settings_environments_examples_and_gates(capsys):
    assert cli.main(["list"]) == 0
    out = capsys.readouterr().out
    for name in ("DQN", "PPO", "A3C: runs A2C", "CartPole-v1", "cartpole-ppo: PPO on CartPole-v1", "ppo-cartpole-cleanrl"):
        assert name in out
    assert cli.main(["list", "SAC"]) == 0
    assert "learning_rate = 0.001" in capsys.readouterr().out
    assert "no algorithm 'SACC'; did you mean 'SAC'" in fails(capsys, "list", "SACC")


PPO = {"hidden": [8], "num_rows": 16, "num_epochs": 1, "num_minibatches": 1, "iterations_per_report": 1}


def test_several_seeds_are_summed_up_plotted_and_resumed(tmp_path, capsys):
    argv = ["train", "--run", "PPO", "--env", "CartPole-v1", "--config", json.dumps(PPO | {"monitor": True, "num_envs": 2})]
    argv += [
        "--stop",
        '{"training_iteration": 4}',
        "--num-seeds",
        "2",
        "--seed",
        "5",
        "--out",
        str(tmp_path / "runs"),
        "--checkpoint-at-end",
    ]
    assert cli.main([*argv, "--no-video"]) == 0
    out = capsys.readouterr().out
    folder = only_run(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["plan.json", "seed_5", "seed_6", "summary.json"]
    summary = json.loads(folder.joinpath("summary.json").read_text())["all seeds"]
    assert summary["seeds"] == 2 and summary["low"] <= summary["iqm"] <= summary["high"]
    assert f"all seeds: {summary['iqm']:.1f} [" in out
    for name in ("seed_5", "seed_6"):
        assert {path.name for path in (folder / name).iterdir()} >= FILES
        (checkpoint,) = (folder / name / "checkpoints").iterdir()
        assert (folder / name / "videos" / f"{checkpoint.name}.mp4").stat().st_size > 1000

    shutil.rmtree(folder / "seed_6")  # as if it had been killed before
    assert cli.main(["train", "--resume", str(folder), "--no-video"]) == 0
    assert "== seed_6" in (out := capsys.readouterr().out) and "== seed_5" not in out
    assert json.loads(folder.joinpath("summary.json").read_text())["all seeds"] == summary

    picture = tmp_path / "curves.png"
    assert cli.main(["plot", str(folder), str(folder / "seed_5"), "--out", str(picture), "--key", "loss"]) == 0
    assert "2 curves of 3 runs" in capsys.readouterr().out
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "no reports with 'los'" in fails(capsys, "plot", str(folder), "--key", "los")


def test_a_tuned_file_trains_its_variants(tmp_path, capsys):
    path = tmp_path / "tiny.yaml"
    path.write_text(
        "tiny:\n  run: PG\n  env: CartPole-v1\n  runner: device\n  stop: {training_iteration: 1}\n"
        "  config: {hidden: [8], num_rows: 16, num_envs: 2, learning_rate: {grid_search: [1e-3, 0.1]}}\n"
    )
    assert cli.main(["train", "-f", str(path), "--out", str(tmp_path / "runs"), "--no-video"]) == 0
    folder = only_run(tmp_path)
    assert folder.name.startswith("tiny_CartPole-v1")
    for rate in (0.001, 0.1):
        params = json.loads((folder / f"learning_rate={rate}_seed_0" / "params.json").read_text())
        assert (params["run"], params["runner"], params["config"]["learning_rate"]) == ("PG", "device", rate)
    assert set(json.loads(folder.joinpath("summary.json").read_text())) == {"learning_rate=0.001", "learning_rate=0.1"}
    assert "no tuned example and no file is called 'cartpol-ppo'" in fails(capsys, "train", "-f", "cartpol-ppo")
    assert "leave --run and --env out" in fails(capsys, "train", "-f", "cartpole-ppo", "--run", "DQN")


def test_options_in_a_tuned_files_config(tmp_path, capsys):
    """Where early RLlib had them."""
    path = tmp_path / "tiny.yaml"
    path.write_text(
        "tiny:\n  run: DQN\n  env: CartPole-v1\n  config: {monitor: true, num_gpus: 0, num_workers: 0, hidden: [8]}\n"
    )
    argv = ["train", "-f", str(path), "--out", str(tmp_path / "runs"), "--replay", "host", "--steps", "1500", "--no-video"]
    assert cli.main(argv) == 0
    params = json.loads((only_run(tmp_path) / "params.json").read_text())
    assert params["monitor"] and params["runner"] == "loop" and list((only_run(tmp_path) / "videos").iterdir())
    path.write_text("tiny:\n  run: DQN\n  env: CartPole-v1\n  runner: device\n  config: {num_workers: 2}\n")
    assert "num_workers are actors of runner 'ray', got runner 'device'" in fails(capsys, "train", "-f", str(path))


BROKEN = """
import gymnasium
import numpy as np

class Broken(gymnasium.Env):
    observation_space, action_space = gymnasium.spaces.Box(-1, 1, (2,)), gymnasium.spaces.Discrete(2)

    def __init__(self, fault):
        self.fault = fault

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), {}

    def step(self, action):
        observation = np.zeros(3 if self.fault == "shape" else 2, np.float32)
        reward = {"none": None, "nan": float("nan")}.get(self.fault, 1.0)
        return observation, reward, self.fault == "nan", False, {}

for fault in ("shape", "none", "nan", "endless"):
    gymnasium.register(f"Broken-{fault}-v0", Broken, kwargs={"fault": fault})
"""


def test_environments_that_break_their_promises(tmp_path, capsys, monkeypatch):
    """From a module in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(tmp_path))])
    (tmp_path / "broken_envs.py").write_text(BROKEN)
    check_length = returns._check_length
    run = lambda fault, *more: train(tmp_path, "--env", f"broken_envs:Broken-{fault}-v0", "--steps", "60", "--no-video", *more)
    assert "promises shape [2], it returned [3]" in fails(capsys, *run("shape"))
    assert "`step` returned None; return the reward there" in fails(capsys, *run("none"))
    with pytest.warns(RuntimeWarning, match="the loss is nan"):
        assert cli.main(run("nan")) == 0
    monkeypatch.setattr(returns, "_check_length", lambda length, _: check_length(length, 200))
    error = fails(capsys, *run("endless"))
    assert re.search(r"trained, and saved in .*, but not evaluated: .* the setting max_episode_steps", error)
    assert cli.main(run("endless", "--config", json.dumps(TINY | {"max_episode_steps": 20}))) == 0


def test_the_vector_runner_has_several_environments_and_as_many_updates_per_step(tmp_path):
    config = TINY | {"steps_per_iteration": 2}
    assert cli.main(train(tmp_path, "--runner", "vector", "--steps", "100", "--no-video", config=config)) == 0
    params = json.loads((only_run(tmp_path) / "params.json").read_text())
    assert params["runner"] == "vector"
    assert [params["config"][k] for k in ("num_envs", "steps_per_iteration", "updates_per_iteration")] == [8, 8, 4]


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["train", "--help"])
    assert caught.value.code == 0
    assert "jax-agents train --run DQN --env CartPole-v1" in capsys.readouterr().out


def test_only_a_closed_standard_output_ends_quietly(tmp_path, monkeypatch, capsys):
    listing = subprocess.run(
        f"{sys.executable} -m jax_agents list | head -n 1; echo ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
    )
    assert listing.stdout.startswith("algorithms") and listing.stdout.splitlines()[-1] == "0" and listing.stderr == ""

    def lost(params, **_):
        raise BrokenPipeError(32, "Broken pipe")  # of a socket, say

    monkeypatch.setattr(run, "run_job", lost)
    with open(tmp_path / "out", "w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        assert cli.main(train(tmp_path)) == 1
    assert capsys.readouterr().err == "jax-agents: error: Broken pipe\n"


def start(*argv):
    return subprocess.Popen(
        [sys.executable, "-m", "jax_agents", *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for_reports(tmp_path, process, number):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        files = list(tmp_path.glob("runs/*/result.json"))
        if files and files[0].read_text().count("\n") >= number:
            return
        time.sleep(0.01)
    raise AssertionError(f"no {number} reports: {process.communicate()[0]}")


def kill_and_resume(tmp_path, num_kills, seed):
    rng, total = random.Random(seed), 1000
    argv = train(tmp_path, "--steps", str(total), "--checkpoint-freq", "1", "--no-video")
    kept = []
    for _ in range(num_kills):
        process = start(*argv)
        wait_for_reports(tmp_path, process, len(kept) + 1)
        time.sleep(rng.random() * 1.5)
        process.kill()
        process.communicate()
        folder = only_run(tmp_path)
        kept = run_folder.read_results(folder)
        steps = sorted(int(path.name[-8:]) for path in folder.glob("checkpoints/checkpoint_*"))
        kept = kept[: steps[-1]] if steps else []
        assert len(kept) == (steps[-1] if steps else 0)  # every checkpoint's reports are on the disk
        argv = ["train", "--resume", str(folder), "--no-video"]
    process = start(*argv)
    output = process.communicate(timeout=240)[0]
    assert process.returncode == 0, output
    results = run_folder.read_results(folder)
    assert [result["training_iteration"] for result in results] == list(range(1, total // 50 + 1))
    assert [result["num_env_steps_sampled_lifetime"] for result in results] == list(range(50, total + 1, 50))
    assert results[: len(kept)] == kept
    assert folder.joinpath("progress.csv").read_text().count("\n") == len(results) + 1
    left = sorted(path.name for path in folder.joinpath("checkpoints").iterdir())
    assert left == ["checkpoint_00000018", "checkpoint_00000019", "checkpoint_00000020"]


def test_killed_at_a_random_moment_it_resumes_without_losing_or_repeating_a_report(tmp_path):
    kill_and_resume(tmp_path, num_kills=1, seed=time.time_ns())


@pytest.mark.nightly
def test_killed_ten_times(tmp_path):
    kill_and_resume(tmp_path, num_kills=10, seed=time.time_ns())


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.nightly), signal.SIGTERM])
def test_an_interrupted_run_saves_exits_130_and_can_go_on(tmp_path, number):
    config = TINY | {"steps_per_report": 100_000}
    process = start(*train(tmp_path, "--steps", "1000000", "--checkpoint-freq", "0", config=config | {"warmup_steps": 100_000}))
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/*/events*")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(number)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 130, output
    assert "Traceback" not in output
    folder = only_run(tmp_path)
    assert f"jax-agents train --resume {folder}" in output
    (result,) = run_folder.read_results(folder)
    assert (folder / "checkpoints" / "checkpoint_00000001").is_dir()
    assert 0 < result["num_env_steps_sampled_lifetime"] < 100_000

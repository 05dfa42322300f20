"""What a user got wrong is one clear line, and leaves nothing behind."""

import re
import sys

import pytest

from jax_agents import cli, replay
from jax_agents.evaluation import returns
from jax_agents.experiments.trained import run_folder


@pytest.mark.parametrize(
    "more, message",
    [
        (["--run", "DQM"], "no algorithm 'DQM'; did you mean 'DQN'?"),
        (
            ["--env", "CartPol-v1"],
            "no environment 'CartPol-v1' is registered; did you mean CartPole-v1",
        ),
        (["--env", "Pendulum-v1"], "expected one discrete action"),
        (["--config", '{"gama": 1}'], "no key 'gama'; did you mean 'gamma'"),
        (["--config", '{"gamma": "x"}'], "gamma: expected a number, got 'x'"),
        (["--config", "{gamma: 1}"], "--config: not JSON"),
        (
            ["--run", "BC", "--config", "{}"],
            "config dataset: expected a .npz file of rows, the run folder or a checkpoint",
        ),
        (
            ["--run", "BC", "--config", '{"dataset": "controller"}'],
            "of CartPole and Pendulum alone (runner 'device'), not of",
        ),
        (["--run", "BC", "--config", '{"dataset": "nothing.npz"}'], "nothing.npz"),
        (["--config", "[1]"], "--config: expected JSON such as"),
        (["--config", "nothing.json"], "expected JSON such as"),
        (["--stop", '{"reward": 1}'], "no result 'reward'; there are"),
        (
            ["--stop", '{"episode_return": 1}'],
            "no result 'episode_return'; did you mean 'episode_return_",
        ),
        (["--steps", "0"], "--steps: expected at least 1, got 0"),
        (["--checkpoint-freq", "-1"], "expected 0 or more"),
        (
            ["--runner", "device", "--env", "LunarLander-v3"],
            "written in JAX, and 'LunarLander-v3' is not",
        ),
        (["--runner", "devise"], "invalid choice: 'devise'"),
        (["--num-workers", "-1"], "--num-workers: expected 0 or more, got -1"),
        (
            ["--runner", "loop", "--num-workers", "4"],
            "--num-workers 4: these are actors of --runner ray, got loop",
        ),
        (
            ["--runner", "device", "--config", '{"num_workers": 4}'],
            "--num-workers 4: these are actors of --runner ray",
        ),
        (
            ["--config", '{"num_workers": "2"}'],
            "num_workers: expected an integer of at least 0, got '2'",
        ),
        (["--config", '{"monitor": 1}'], "monitor: expected true or false, got 1"),
        (
            ["--config", '{"n_step": 60, "warmup_steps": 50}'],
            "50 rows in each of 1 environments hold no window of 61 rows",
        ),
        (
            ["--config", '{"replay_capacity": 1}'],
            "capacity=1 rows cannot hold one window of sequence_length=2 rows",
        ),
        (
            ["--run", "PPO", "--config", '{"num_minibatches": 7}'],
            "config num_minibatches: expected a divisor of num_envs",
        ),
        (["--seed", "99999999999999999999"], "seed: expected 0 to"),
        (["--num-gpus", "0.5"], "--num-gpus 0.5: JAX sees no GPU here"),
        (["--num-gpus", "2"], "--num-gpus: expected a number from 0 to 1"),
        (["--num-seeds", "0"], "--num-seeds: expected at least 1"),
        (["--num-seeds", "2", "--env", "Pendulum-v1"], "expected one discrete action"),
        (["--checkpoint-freq", "1", "--checkpoint-at-end"], "not allowed with"),
        (["--resume", "."], "cannot be changed when resuming|is not the folder of a run"),
    ],
)
def test_a_users_mistake_is_one_clear_line_and_makes_no_folder(
    tmp_path, more, message, train, fails
):
    error = fails(*train(*more))
    assert re.search(message if "|" in message else re.escape(message), error)
    assert error.startswith("usage") or error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_missing_extra_names_the_command_that_installs_it(monkeypatch, train, fails):
    monkeypatch.setattr(replay, "has_reverb", lambda: False)
    error = fails(*train("--replay", "reverb"))
    assert 'pip install "jax-agents[reverb]"' in error


def test_folders_that_hold_no_run(tmp_path, fails):
    assert "train needs --run and --env" in fails("train")
    assert "there is no folder" in fails("evaluate", str(tmp_path / "nothing"))
    assert "is not the folder of a run" in fails("evaluate", str(tmp_path))
    assert "is not the folder of a run" in fails("train", "--resume", str(tmp_path))


def test_a_damaged_checkpoint_names_the_one_to_go_on_from(capsys, train, fails, only_run):
    assert cli.main(train("--steps", "100", "--checkpoint-freq", "1", "--no-video")) == 0
    folder = only_run()
    damaged, before = (folder / "checkpoints" / f"checkpoint_0000000{i}" for i in (2, 1))
    next(path for path in damaged.rglob("d/*") if path.is_file()).write_bytes(b"garbage")
    capsys.readouterr()
    for command in (["evaluate", str(folder)], ["train", "--resume", str(folder)]):
        error = fails(*command)
        assert str(damaged) in error and f"the one before it is {before}" in error
    assert cli.main(["train", "--resume", str(before), "--no-video"]) == 0
    assert [result["training_iteration"] for result in run_folder.read_results(folder)] == [1, 2]
    assert cli.main(["evaluate", str(folder)]) == 0


BROKEN = """
import gymnasium
import numpy as np

class Broken(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Discrete(2)

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


def test_environments_that_break_their_promises(tmp_path, monkeypatch, train, fails):
    """From a module in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(tmp_path))])
    (tmp_path / "broken_envs.py").write_text(BROKEN)
    check_length = returns.check_length
    arguments = ("--steps", "60", "--no-video")
    run = lambda fault, config=None: train(
        "--env", f"broken_envs:Broken-{fault}-v0", *arguments, config=config
    )
    assert "promises shape [2], but it returned [3]" in fails(*run("shape"))
    assert "`step` returned None; return the reward there" in fails(*run("none"))
    with pytest.warns(RuntimeWarning, match="the loss is nan"):
        assert cli.main(run("nan")) == 3  # training is given up
    monkeypatch.setattr(returns, "check_length", lambda length, _: check_length(length, 200))
    error = fails(*run("endless"))
    assert re.search(
        r"trained, and saved in .*, but not evaluated: .* the setting max_episode_steps", error
    )
    assert cli.main(run("endless", {"max_episode_steps": 20})) == 0

import json
import shutil

from jax_agents import cli

FILES = {
    "params.json",
    "result.json",
    "progress.csv",
    "evaluation.json",
    "curve.png",
    "checkpoints",
}
PPO = {
    "hidden": [8],
    "num_rows": 16,
    "num_epochs": 1,
    "num_minibatches": 1,
    "iterations_per_report": 1,
}


def test_several_seeds_are_summed_up_plotted_and_resumed(tmp_path, capsys, fails, only_run):
    argv = [
        "train",
        "--run",
        "PPO",
        "--env",
        "CartPole-v1",
        "--config",
        json.dumps(PPO | {"monitor": True, "num_envs": 2}),
    ]
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
    folder = only_run()
    assert sorted(path.name for path in folder.iterdir()) == [
        "plan.json",
        "seed_5",
        "seed_6",
        "summary.json",
    ]
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

    plan = json.loads((folder / "plan.json").read_text())
    for damaged, message in (
        ("[", "plan.json is damaged"),
        (json.dumps({**plan, "jobs": [["seed_5", {}]]}), "plan.json is damaged"),
        (json.dumps(plan["jobs"]), "has format 0"),
    ):
        (folder / "plan.json").write_text(damaged)
        assert message in fails("train", "--resume", str(folder))

    picture = tmp_path / "curves.png"
    assert (
        cli.main(
            ["plot", str(folder), str(folder / "seed_5"), "--out", str(picture), "--key", "loss"]
        )
        == 0
    )
    assert "2 curves of 3 runs" in capsys.readouterr().out
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "no reports with 'los'" in fails("plot", str(folder), "--key", "los")


def test_a_tuned_file_trains_its_variants(tmp_path, fails, only_run):
    path = tmp_path / "tiny.yaml"
    path.write_text(
        "tiny:\n  run: PG\n  env: CartPole-v1\n  runner: device\n  stop: {training_iteration: 1}\n"
        "  config: {hidden: [8], num_rows: 16, num_envs: 2, learning_rate: {grid_search: [1e-3, "
        "0.1]}}\n"
    )
    assert cli.main(["train", "-f", str(path), "--out", str(tmp_path / "runs"), "--no-video"]) == 0
    folder = only_run()
    assert folder.name.startswith("tiny_CartPole-v1")
    for rate in (0.001, 0.1):
        params = json.loads((folder / f"learning_rate={rate}_seed_0" / "params.json").read_text())
        assert (params["run"], params["runner"], params["config"]["learning_rate"]) == (
            "PG",
            "device",
            rate,
        )
    assert set(json.loads(folder.joinpath("summary.json").read_text())) == {
        "learning_rate=0.001",
        "learning_rate=0.1",
    }
    assert "no tuned example and no file is called 'cartpol-ppo'" in fails(
        "train", "-f", "cartpol-ppo"
    )
    assert "leave --run and --env out" in fails("train", "-f", "cartpole-ppo", "--run", "DQN")


def test_options_in_a_tuned_files_config(tmp_path, fails, only_run):
    """Where early RLlib had them."""
    path = tmp_path / "tiny.yaml"
    path.write_text(
        "tiny:\n  run: DQN\n  env: CartPole-v1\n  config: {monitor: true, num_gpus: 0, "
        "num_workers: 0, hidden: [8]}\n"
    )
    argv = [
        "train",
        "-f",
        str(path),
        "--out",
        str(tmp_path / "runs"),
        "--replay",
        "host",
        "--steps",
        "1500",
        "--no-video",
    ]
    assert cli.main(argv) == 0
    params = json.loads((only_run() / "params.json").read_text())
    assert (
        params["monitor"] and params["runner"] == "loop" and list((only_run() / "videos").iterdir())
    )
    path.write_text(
        "tiny:\n  run: DQN\n  env: CartPole-v1\n  runner: device\n  config: {num_workers: 2}\n"
    )
    assert "num_workers are actors of runner 'ray', got runner 'device'" in fails(
        "train", "-f", str(path)
    )


def test_the_vector_runner_has_several_environments_and_as_many_updates_per_step(train, only_run):
    assert (
        cli.main(
            train(
                "--runner",
                "vector",
                "--steps",
                "100",
                "--no-video",
                config={"steps_per_iteration": 2},
            )
        )
        == 0
    )
    params = json.loads((only_run() / "params.json").read_text())
    assert params["runner"] == "vector"
    assert [
        params["config"][k] for k in ("num_envs", "steps_per_iteration", "updates_per_iteration")
    ] == [8, 8, 4]


OWN = """
import dataclasses

from jax_agents.experiments import DqnConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnConfig(DqnConfig):
    '''My own DQN.'''

    level: int = 1
"""


def test_a_configuration_of_ones_own(tmp_path, monkeypatch, train, only_run, capsys):
    (tmp_path / "own_command.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    name = "own_command:OwnConfig"
    argv = train("--steps", "100", "--no-video", config={"level": 2})
    argv[argv.index("DQN")] = name
    assert cli.main(argv) == 0
    folder = only_run()
    assert folder.name.startswith("own_command-OwnConfig_CartPole-v1")
    params = json.loads((folder / "params.json").read_text())
    assert params["run"] == name and params["config"]["level"] == 2
    assert cli.main(["train", "--resume", str(folder), "--steps", "150", "--no-video"]) == 0
    assert cli.main(["evaluate", str(folder), "--episodes", "2"]) == 0
    assert json.loads((folder / "params.json").read_text())["config"]["num_steps"] == 150
    out = capsys.readouterr().out
    assert "its schedules end at 150 steps from now on, no longer at 100" in out
    assert "resumed after 100 steps" in out
    assert cli.main(["list", name]) == 0
    assert "My own DQN." in (out := capsys.readouterr().out) and "level" in out


def test_an_option_comes_before_a_setting(tmp_path, train, only_run):
    argv = train("--steps", "100", "--num-workers", "0", "--runner", "ray", "--no-video")
    argv[argv.index("--config") + 1] = json.dumps({"hidden": [8], "num_workers": 5})
    argv[argv.index("DQN")] = "PG"
    argv[argv.index("host")] = "auto"
    assert cli.main(argv) == 0
    assert json.loads((only_run() / "params.json").read_text())["num_workers"] == 0

"""Acting over HTTP by command: secrets, locks and mistakes; tests/serving serves and learns."""

import pytest

from jax_agents import cli
from jax_agents.experiments import ReinforceConfig, Trainer
from jax_agents.experiments.trained import run_folder
from jax_agents.serving import PolicyService, serve_in_background

CONFIG = ReinforceConfig(hidden=(4,), num_envs=1, num_rows=8, iterations_per_report=1)
PARAMS = {"run": "PG", "env": "CartPole-v1", "seed": 0, "runner": "loop", "replay": "host"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder with a checkpoint, and the trainer that made it."""
    folder = tmp_path_factory.mktemp("run")
    run_folder.write_params(folder, PARAMS | {"config": CONFIG.settings()})
    trainer = Trainer(CONFIG, "CartPole-v1", run_folder=folder)
    trainer.train()
    trainer.save()
    yield folder, trainer
    trainer.close()


def test_help_names_the_variable_of_the_secret_and_not_the_secret(monkeypatch, capsys):
    monkeypatch.setenv("JAX_AGENTS_TOKEN", "sesame")
    for command in ("serve", "rollout"):
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        told = capsys.readouterr().out
        assert "JAX_AGENTS_TOKEN" in told
        assert "sesame" not in told


def test_the_secret_is_an_option_or_a_variable(trained, monkeypatch, capsys, fails):
    folder, trainer = trained
    service = PolicyService(trainer.agent, trainer.train_state, max_batch_size=2)
    with serve_in_background(service, token="sesame") as address:
        command = ["rollout", str(folder), "--address", address, "--episodes", "1"]
        monkeypatch.delenv("JAX_AGENTS_TOKEN", raising=False)
        refused = fails(*command)
        assert refused.startswith(f"jax-agents: error: {address}: ")
        assert refused.endswith("(HTTP 401)\n")
        assert fails(*command, "--token", "wrong") == refused
        monkeypatch.setenv("JAX_AGENTS_TOKEN", "sesame")
        assert cli.main(command) == 0
        assert capsys.readouterr().out == f"episode 0: return {trainer.evaluate(1)[0]:g}\n"
        assert fails(*command, "--token", "wrong") == refused  # the option goes first


def test_a_run_that_another_process_trains_is_not_taught(trained, fails):
    folder, _ = trained
    with run_folder.lock(folder):  # and if it went unnoticed, there is no such address to listen at
        assert "another process is training in this folder" in fails(
            "serve", str(folder), "--train", "--port", "0", "--host", "192.0.2.1"
        )


def test_a_run_without_a_checkpoint_and_a_folder_without_a_run(tmp_path, fails):
    assert "is not the folder of a run" in fails("serve", str(tmp_path), "--port", "0")
    run_folder.write_params(tmp_path, PARAMS | {"config": CONFIG.settings()})
    for more in ([], ["--train"]):
        error = fails("serve", str(tmp_path), "--port", "0", *more)
        assert "no checkpoint" in error
        assert error.count("\n") == 1

import json
from pathlib import Path

import pytest

from jax_agents.cli.job import STEPS, Job
from jax_agents.experiments import DqnConfig, PpoConfig

CONFIG = PpoConfig(hidden=(4,), num_envs=2, num_rows=8, num_minibatches=1)
HERE = Path(__file__).parent  # stands for the folder of the parameters


def test_a_job_is_made_again_from_its_parameters():
    job = Job(
        CONFIG, "CartPole-v1", 3, "ray", "auto", {"loss": 0.5}, 7, monitor=True, num_workers=0
    )
    params = json.loads(json.dumps(job.params()))
    assert params["run"] == "PPO" and params["config"]["hidden"] == [4]
    assert params["num_workers"] == 0
    assert Job.from_params(params, HERE) == job
    assert "num_workers" not in Job(CONFIG, "CartPole-v1", 0, "loop", "host", {STEPS: 1}).params()


def test_what_a_trainer_writes_is_a_job_too():
    actors = Job(CONFIG, "CartPole-v1", 4, "ray", "host", {STEPS: 16}, num_workers=3).trainer()
    assert Job.from_params(actors.params(), HERE).num_workers == 3
    actors.close()
    trainer = Job(CONFIG, "CartPole-v1", 4, "loop", "host", {STEPS: 16}).trainer()
    job = Job.from_params(trainer.params(), HERE)
    trainer.close()
    assert (job.config, job.env, job.seed, job.runner) == (CONFIG, "CartPole-v1", 4, "loop")
    assert job.stop == {STEPS: CONFIG.num_steps} and job.checkpoint_freq == 10


def test_a_job_makes_its_trainer(tmp_path):
    job = Job(CONFIG, "CartPole-v1", 4, "device", "auto", {STEPS: 16})
    trainer = job.trainer(tmp_path)
    assert trainer.config is CONFIG and trainer.seed == 4 and trainer.run_folder == tmp_path
    trainer.close()
    job.check()
    with pytest.raises(ValueError, match="runner 'vector' steps several environments at once"):
        Job(DqnConfig(), "CartPole-v1", 0, "vector", "host", {STEPS: 1}).check()
    params = job.params()
    with pytest.raises(ValueError, match="no key 'gama'; did you mean 'gamma'"):
        Job.from_params(params | {"config": {"gama": 1}}, HERE)
    with pytest.raises(ValueError, match="no algorithm 'PPI'"):
        Job.from_params(params | {"run": "PPI"}, HERE)


def test_a_configuration_is_planned_for_the_steps_of_the_stop():
    config = DqnConfig(num_steps=2_048)
    plan = lambda stop: Job(config, "CartPole-v1", 0, "loop", "auto", stop).planned().config
    assert plan({STEPS: 8_192}).num_steps == 8_192
    assert plan({STEPS: 100}) is config
    assert plan({"episode_return_mean": 475}) is config
    assert plan({STEPS: float("inf")}) is config

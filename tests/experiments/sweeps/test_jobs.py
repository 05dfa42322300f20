"""Which trials of a sweep are one run on device, and how a trial is set up by itself."""

import dataclasses

import pytest

from jax_agents.experiments import A2cConfig, BcConfig, EsConfig, ReinforceConfig
from jax_agents.experiments.sweeps import jobs as sweep_jobs
from jax_agents.experiments.trained import run_folder
from jax_agents.experiments.training.callbacks import Callback


def together_calls(monkeypatch):
    made = []

    class Spy(sweep_jobs.VmappedRuns):
        def __init__(self, config, env, seeds, values):
            made.append((list(seeds), sorted(values)))
            super().__init__(config, env, seeds, values)

    monkeypatch.setattr(sweep_jobs, "VmappedRuns", Spy)
    return made


def jobs(config, num_seeds, **values):
    varied = [
        dataclasses.replace(config, **dict(zip(values, one, strict=True)))
        for one in zip(*values.values(), strict=True)
    ]
    return [sweep_jobs.Job("", one, seed) for one in varied for seed in range(num_seeds)]


def test_what_cannot_be_traced_is_run_apart(monkeypatch):
    made = together_calls(monkeypatch)
    both = jobs(
        A2cConfig(hidden=(8,), num_envs=2),
        2,
        learning_rate=(1e-3, 1e-2),
        entropy_coefficient=(0.0, 0.1),
    )
    ((group, shared),) = sweep_jobs.groups(both, "CartPole-v1", True)
    assert len(group) == len(shared.members) == 4
    assert made == [([0, 1, 0, 1], ["entropy_coefficient", "learning_rate"])]
    made.clear()  # layers are no numbers: a run for each, and its seeds
    layers = jobs(A2cConfig(num_envs=2), 2, hidden=((8,), (4,)))
    groups = list(sweep_jobs.groups(layers, "CartPole-v1", True))
    assert [len(group) for group, _ in groups] == [2, 2]
    assert made == [([0, 1], []), ([0, 1], [])]
    monkeypatch.setattr(sweep_jobs.VmappedRuns, "possible", lambda self: not self._values)
    made.clear()
    gammas = jobs(A2cConfig(num_envs=2), 2, gamma=(0.9, 0.8))
    groups = list(sweep_jobs.groups(gammas, "CartPole-v1", True))
    assert [len(group) for group, _ in groups] == [2, 2]
    assert made[1:] == [([0, 1], []), ([0, 1], [])]
    es = jobs(EsConfig(), 1, learning_rate=(0.1, 0.2))
    bc = jobs(BcConfig(), 1, learning_rate=(0.1, 0.2))
    for together, alone in ((False, both), (True, es), (True, bc)):
        shared = [runs for _, runs in sweep_jobs.groups(alone, "CartPole-v1", together)]
        assert shared == [None] * len(alone)


class Notes(Callback):
    """Notes of whose reports come."""

    def __init__(self):
        self.seeds = []

    def on_report(self, trainer, result):
        self.seeds.append(trainer.seed)


def setup(**options):
    shared = {
        "env": "CartPole-v1",
        "stop": {"training_iteration": 2},
        "runner": "loop",
        "replay": "host",
        "num_workers": None,
        "folder": None,
        "checkpoint_freq": 0,
        "checkpoint_at_end": False,
        "keep_checkpoints": 1,
        "callbacks": (),
    }
    return sweep_jobs.Setup(**(shared | options))


def test_jobs_are_trained_one_after_the_other_each_in_its_folder(tmp_path):
    notes = Notes()
    config = ReinforceConfig(hidden=(4,), num_envs=1, num_rows=8, iterations_per_report=1)
    two = [sweep_jobs.Job(f"seed_{seed}", config, seed) for seed in (3, 4)]
    trials = setup(folder=tmp_path, callbacks=(notes,)).train(two, None)
    assert notes.seeds == [3, 3, 4, 4]
    assert [(trial.label, trial.seed) for trial in trials] == [("seed_3", 3), ("seed_4", 4)]
    for trial in trials:
        assert trial.folder == tmp_path / trial.label
        assert [result["training_iteration"] for result in trial.results] == [1, 2]
        assert run_folder.read_results(trial.folder) == trial.results
        params = run_folder.read_params(trial.folder)
        assert (params["seed"], params["stop"]) == (trial.seed, {"training_iteration": 2})
        assert params["config"] == config.settings()
    with pytest.raises(FileExistsError):
        setup(folder=tmp_path).train(two[:1], None)


def test_jobs_without_a_folder_leave_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = ReinforceConfig(hidden=(4,), num_envs=1, num_rows=8, iterations_per_report=1)
    (trial,) = setup().train([sweep_jobs.Job("only", config, 0)], None)
    assert trial.folder is None
    assert len(trial.results) == 2
    assert list(tmp_path.iterdir()) == []

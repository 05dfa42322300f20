"""Sweeps under Ray Tune: the trial's side against a stand-in for Tune's session, and the whole of
it on Ray.
"""

import contextlib
import math
import shutil
import sys
import uuid
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from jax_agents.experiments import (
    Analysis,
    ReinforceConfig,
    grid_search,
    log_uniform,
    tune_experiment,
)
from jax_agents.experiments.sweeps import tune
from jax_agents.experiments.trained import run_folder

TINY = ReinforceConfig(hidden=(8,), num_envs=2, num_rows=8, iterations_per_report=1)
STEPS = "num_env_steps_sampled_lifetime"


class Session:
    """What a trial sees of Tune: its number, a checkpoint to go on from, where to report to."""

    def __init__(self, folder, checkpoint=None):
        self.folder, self.reports, self._checkpoint = folder, [], checkpoint
        self.Checkpoint = SimpleNamespace(from_directory=str)

    def get_context(self):
        return SimpleNamespace(get_trial_id=lambda: "abc_00003")

    def get_checkpoint(self):
        as_directory = lambda: contextlib.nullcontext(self._checkpoint)
        return None if self._checkpoint is None else SimpleNamespace(as_directory=as_directory)

    def report(self, numbers, checkpoint=None):
        if checkpoint is not None:  # Tune copies it at once
            checkpoint = shutil.copytree(checkpoint, self.folder / uuid.uuid4().hex)
        self.reports.append((numbers, checkpoint))


def run_trial(monkeypatch, tmp_path, name, config, stop, checkpoint=None, **more):
    session = Session(tmp_path, checkpoint)
    monkeypatch.setattr(tune, "_import_tune", lambda: session)
    arguments = {"checkpoint_freq": 2, "checkpoint_at_end": True} | more
    job = tune.TuneJob(TINY, 0, "loop", "host", stop, runs=tmp_path / name, **arguments)
    tune.train_trial({"env": "CartPole-v1", **config}, job)
    return session.reports


def test_a_trial_goes_on_from_another_ones_checkpoint_with_its_own_settings(monkeypatch, tmp_path):
    first = run_trial(
        monkeypatch, tmp_path, "first", {"learning_rate": 0.01}, {"training_iteration": 3}
    )
    assert [numbers["training_iteration"] for numbers, _ in first] == [1, 2, 3]
    # every second one, and the last
    assert [checkpoint is not None for _, checkpoint in first] == [
        False,
        True,
        True,
    ]
    assert all(isinstance(value, int | float) for numbers, _ in first for value in numbers.values())
    assert math.isnan(first[0][0]["episode_return_mean"]) or first[0][0]["episode_return_mean"] > 0

    # So small a learning rate changes nothing: what there is has come from the checkpoint, and the
    # rate has not.
    settings = {"learning_rate": 1e-12, "seed": 7}
    second = run_trial(
        monkeypatch, tmp_path, "second", settings, {"training_iteration": 4}, first[1][1]
    )
    assert [numbers["training_iteration"] for numbers, _ in second] == [3, 4]
    assert second[-1][0]["num_updates_lifetime"] == 4
    given, (trial,) = (
        Analysis.load(tmp_path / "first").trials[0],
        Analysis.load(tmp_path / "second").trials,
    )
    assert (trial.label, trial.seed, trial.config["learning_rate"]) == ("trial_00003", 7, 1e-12)
    before = flat(given.load(given.checkpoints()[0][0]))
    np.testing.assert_allclose(flat(trial.load()), before, atol=1e-9)
    assert np.abs(flat(given.load()) - before).max() > 1e-3  # a rate of 0.01 does change them


def flat(trainer):
    return np.concatenate(
        [np.ravel(leaf) for leaf in jax.tree.leaves(trainer.get_policy().get_weights())]
    )


def test_mistakes_are_told_before_ray_starts(tmp_path):
    pytest.importorskip("ray.tune", reason='needs pip install "jax-agents[tune]"')
    for run, config, more, message in (
        ("PG", {}, {}, 'expected "env", such as "CartPole-v1", among the keys'),
        ("PGG", {"env": "CartPole-v1"}, {}, "no algorithm 'PGG'; did you mean 'PG'"),
        ("PG", {"env": "CartPole-v1", "gama": 1}, {}, "no key 'gama'; did you mean 'gamma'"),
        (
            "PG",
            {"env": "CartPole-v1", "gamma": {"uniforn": [0, 1]}},
            {},
            "config gamma: expected a value, or",
        ),
        ("PG", {"env": "CartPole-v1"}, {"stop": {"reward": 1}}, "no result 'reward'"),
    ):
        with pytest.raises(ValueError, match=message):
            tune_experiment(run, config, folder=tmp_path, **more)
    (tmp_path / "mine" / "runs").mkdir(parents=True)
    with pytest.raises(
        FileExistsError, match=r"look at them with Analysis\.load, or choose another name"
    ):
        tune_experiment("PG", {"env": "CartPole-v1"}, folder=tmp_path, name="mine")


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r'pip install "jax-agents\[tune\]"'):
        tune_experiment("PG", {"env": "CartPole-v1"})


@pytest.mark.nightly
def test_a_trial_under_ray(ray_on_this_machine, tmp_path):
    """One process, since each takes seconds to start; several are below."""
    config = {"env": "CartPole-v1", "learning_rate": grid_search([0.01])}
    analysis = tune_experiment(
        TINY, config, stop={"training_iteration": 2}, folder=tmp_path, name="mine", verbose=0
    )
    (trial,) = analysis.trials
    assert [result["training_iteration"] for result in trial.results] == [1, 2]
    ((path, value),) = trial.checkpoints()
    assert path.is_relative_to(tmp_path / "mine" / "runs") and value == trial.last()
    assert [result[STEPS] for result in trial.results] == [16, 32]
    assert trial.load().compute_action(np.zeros(4, np.float32)) in (0, 1)


@pytest.mark.nightly
def test_a_grid_and_draws_under_ray(ray_on_this_machine, tmp_path):
    config = {
        "env": "CartPole-v1",
        "gamma": grid_search([0.9, 0.99]),
        "learning_rate": log_uniform(1e-3, 1e-2),
    }
    analysis = tune_experiment(
        ReinforceConfig, config, stop={STEPS: 2048}, num_samples=2, folder=tmp_path, verbose=0
    )
    assert sorted(trial.config["gamma"] for trial in analysis.trials) == [0.9, 0.9, 0.99, 0.99]
    rates = {trial.config["learning_rate"] for trial in analysis.trials}
    assert len(rates) == 4 and all(1e-3 <= rate <= 1e-2 for rate in rates)
    assert analysis.best_trial().last() == max(trial.last() for trial in analysis.trials)
    (folder,) = tmp_path.iterdir()
    assert Analysis.load(folder).best_trial().label == analysis.best_trial().label


@pytest.mark.nightly
def test_asha_ends_trials_early_under_ray(ray_on_this_machine, tmp_path):
    from ray.tune.schedulers import ASHAScheduler

    config = {"env": "CartPole-v1", "learning_rate": grid_search([3e-3, 1e-7, 1e-9])}
    asha = ASHAScheduler(time_attr=STEPS, max_t=40_000, grace_period=10_000, reduction_factor=2)
    # One after the other: ASHA judges a trial by those that came before it.
    options = {"stop": {STEPS: 40_000}, "cpus_per_trial": 4, "folder": tmp_path, "verbose": 0}
    analysis = tune_experiment("PG", config, scheduler=asha, **options)
    steps = {trial.config["learning_rate"]: trial.last(STEPS) for trial in analysis.trials}
    assert steps[3e-3] >= 40_000 and max(steps[1e-7], steps[1e-9]) < 20_000, steps
    assert analysis.best_config()["learning_rate"] == 3e-3


@pytest.mark.nightly
def test_population_based_training_changes_settings_on_the_way(ray_on_this_machine, tmp_path):
    from ray.tune.schedulers import PopulationBasedTraining

    config = {"env": "CartPole-v1", "learning_rate": grid_search([3e-3, 1e-9]), "seed": 1}
    population = PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=4,
        hyperparam_mutations={"learning_rate": [1e-4, 3e-4, 1e-3, 3e-3]},
        quantile_fraction=0.5,
        synch=True,
    )
    options = {
        "stop": {"training_iteration": 16},
        "checkpoint_freq": 4,
        "cpus_per_trial": 1,
        "folder": tmp_path,
        "verbose": 0,
    }
    analysis = tune_experiment("PG", config, scheduler=population, **options)
    rates = [trial.config["learning_rate"] for trial in analysis.trials]
    # the worse one went on from the better one's checkpoint, at another rate
    assert 1e-9 not in rates and len(rates) == 2
    assert all(trial.last("training_iteration") == 16 for trial in analysis.trials)
    for trial in analysis.trials:
        assert (
            run_folder.read_params(trial.folder)["config"]["learning_rate"]
            == trial.config["learning_rate"]
        )

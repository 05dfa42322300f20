import dataclasses

import pytest

from jax_agents.experiments import (
    Analysis,
    Callback,
    ReinforceConfig,
    Trainer,
    grid_search,
    log_uniform,
    run_experiments,
    run_sweep,
)

TINY = ReinforceConfig(hidden=(8,), num_envs=2, num_rows=16, iterations_per_report=2)
SPACE = {"learning_rate": grid_search([1e-3, 1e-2]), "gamma": grid_search([0.9, 0.99])}
VALUES = (
    "training_iteration",
    "num_env_steps_sampled_lifetime",
    "num_updates_lifetime",
    "episode_return_mean",
    "loss",
)


class Stopper(Callback):
    """Ends trials of a learning rate after a report, and counts the episodes of all."""

    def __init__(self):
        self.episodes = 0

    def on_episode(self, trainer, episode_return, episode_length, num_episodes):
        assert episode_return == pytest.approx(episode_length or episode_return)  # CartPole's
        self.episodes += num_episodes

    def on_report(self, trainer, result):
        if trainer.config.learning_rate == 1e-3:
            trainer.interrupt()


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder, stopper = tmp_path_factory.mktemp("sweep"), Stopper()
    analysis = run_sweep(
        TINY,
        "CartPole-v1",
        SPACE,
        stop={"training_iteration": 2},
        runner="device",
        folder=folder,
        seed=3,
        callbacks=[stopper],
    )
    return folder, stopper, analysis


def test_trials_in_step_compute_what_each_would_alone(swept):
    _, _, analysis = swept
    assert [(t.config["learning_rate"], t.config["gamma"]) for t in analysis.trials] == [
        (1e-3, 0.9),
        (1e-3, 0.99),
        (1e-2, 0.9),
        (1e-2, 0.99),
    ]
    alone = Trainer(
        dataclasses.replace(TINY, learning_rate=1e-2, gamma=0.9),
        "CartPole-v1",
        seed=3,
        runner="device",
    )
    together = analysis.trials[2]
    for result in together.results:
        expected = alone.train()
        assert [result[key] for key in VALUES[:3]] == [expected[key] for key in VALUES[:3]]
        assert [result[key] for key in VALUES[3:]] == pytest.approx(
            [expected[key] for key in VALUES[3:]], rel=1e-4
        )
    restored = together.load()
    assert restored.evaluate(3) == pytest.approx(alone.evaluate(3))
    assert len({trial.last("loss") for trial in analysis.trials}) == 4  # and they differ


def test_trials_in_step_stop_and_are_saved_each_for_itself(swept):
    _, stopper, analysis = swept
    assert [len(trial.results) for trial in analysis.trials] == [1, 1, 2, 2]
    for trial in analysis.trials:
        ((path, value),) = trial.checkpoints()
        assert path.name == f"checkpoint_0000000{len(trial.results)}" and value == trial.last()
    early = analysis.trials[0].load()
    # not trained any further
    (result,) = analysis.trials[0].results
    assert int(early.train_state.step) == result["num_updates_lifetime"] >= 2
    assert result["num_env_steps_sampled_lifetime"] >= 64
    assert (
        stopper.episodes
        == sum(trial.last("num_episodes_lifetime") for trial in analysis.trials)
        > 0
    )
    first, second = analysis.trials[2].results
    steps = second["num_env_steps_sampled_lifetime"] - first["num_env_steps_sampled_lifetime"]
    # times are rounded
    assert second["steps_per_second"] == pytest.approx(steps / second["time_this_iter_s"], rel=0.2)


def test_a_sweep_is_loaded_from_its_folder_and_does_not_write_into_another(swept):
    folder, _, analysis = swept
    loaded = Analysis.load(folder)
    assert {t.label: t.results for t in loaded.trials} == {
        t.label: t.results for t in analysis.trials
    }
    assert loaded.best_trial("loss", "min").label == analysis.best_trial("loss", "min").label
    with pytest.raises(FileExistsError, match="there are runs in it; look at them with"):
        run_sweep(TINY, "CartPole-v1", folder=folder)


def test_experiments_by_name_one_trial_after_the_other(tmp_path):
    settings = {
        "learning_rate": log_uniform(1e-4, 1e-2),
        "hidden": [8],
        "num_rows": 8,
        "num_envs": 1,
    }
    entry = {
        "run": "PG",
        "env": "CartPole-v1",
        "stop": {"training_iteration": 2},
        "config": settings,
    }
    analysis = run_experiments(
        {"mine": entry}, num_samples=2, folder=tmp_path, checkpoint_at_end=False
    )
    labels = [
        f"mine/learning_rate={t.config['learning_rate']:.4g}_sample_{i}_seed_0"
        for i, t in enumerate(analysis.trials)
    ]
    assert [trial.label for trial in analysis.trials] == labels and len(labels) == 2
    assert sorted(trial.label for trial in Analysis.load(tmp_path).trials) == sorted(labels)
    for trial in analysis.trials:
        assert [result["training_iteration"] for result in trial.results] == [1, 2]
        assert trial.checkpoints() == [] and (trial.folder / "progress.csv").exists()
    with pytest.raises(ValueError, match="experiments: mine: no key 'stopp'; did you mean 'stop'"):
        run_experiments({"mine": entry | {"stopp": {}}})


def test_mistakes_are_told_before_anything_is_trained():
    for arguments, message in (
        ({"config": {"gama": 1}}, "no key 'gama'; did you mean 'gamma'"),
        (
            {"config": {"gamma": grid_search([0.9, 2.0])}},
            "gamma: expected a number from 0 to 1, got 2.0",
        ),
        ({"stop": {"reward": 1}}, "no result 'reward'"),
        ({"num_seeds": 0}, "num_seeds: expected at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            run_sweep("PPO", "CartPole-v1", **arguments)

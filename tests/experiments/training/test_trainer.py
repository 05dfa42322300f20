import dataclasses
from contextlib import closing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents import envs
from jax_agents.experiments import (
    RESULT_KEYS,
    Callback,
    CheckpointError,
    DqnConfig,
    EsConfig,
    ImpalaConfig,
    NonFiniteError,
    PpoConfig,
    TrainedAgent,
    Trainer,
    grid_search,
    run_sweep,
)
from jax_agents.experiments.training.callbacks import recorders

CONFIG = DqnConfig(
    hidden=(8,),
    warmup_steps=50,
    batch_size=4,
    steps_per_iteration=1,
    steps_per_report=50,
    num_steps=200,
    replay_capacity=500,
)


class Recorder(Callback):
    def __init__(self):
        self.events, self.results = [], []

    def on_start(self, trainer):
        self.events.append(f"start {trainer.training_iteration}")

    def on_progress(self, trainer):
        assert trainer.num_steps > 0

    def on_report(self, trainer, result):
        self.events.append(f"report {result['training_iteration']}")
        self.results.append(result)

    def on_checkpoint(self, trainer, path):
        self.events.append(f"checkpoint {path.name[-2:]}")

    def on_end(self, trainer):
        self.events.append("end")


def make(tmp_path=None, **more):
    return Trainer(CONFIG, "CartPole-v1", run_folder=tmp_path, **({"replay": "host"} | more))


def test_reports_have_the_documented_keys_and_count():
    trainer = make()
    first, second = trainer.train(), trainer.train()
    assert tuple(first) == RESULT_KEYS
    assert set(second) == {*RESULT_KEYS, "q", "grad_norm"}
    assert [first["num_env_steps_sampled_lifetime"], second["num_env_steps_sampled_lifetime"]] == [
        50,
        100,
    ]
    assert [first["num_updates_lifetime"], second["num_updates_lifetime"]] == [0, 50]
    assert first["loss"] is None and second["loss"] > 0
    assert (
        second["episode_return_min"]
        <= second["episode_return_mean"]
        <= second["episode_return_max"]
    )
    assert second["time_total_s"] == pytest.approx(
        first["time_this_iter_s"] + second["time_this_iter_s"], abs=1e-3
    )
    trainer.close()


def test_runs_are_functions_of_their_seed():
    def losses(seed):
        trainer = make(seed=seed)
        trainer.train()
        return trainer.train()["loss"], trainer.train()["loss"]

    assert losses(1) == losses(1) != losses(2)


def test_run_saves_resumes_and_reports_in_order(tmp_path):
    recorder = Recorder()
    trainer = make(tmp_path, callbacks=[recorder])
    result = trainer.run({"num_env_steps_sampled_lifetime": 150}, checkpoint_freq=2)
    assert result["num_env_steps_sampled_lifetime"] == 150
    wanted = ["start 0", "report 1", "report 2", "checkpoint 02", "report 3", "checkpoint 03"]
    assert recorder.events == wanted
    trainer.close()
    assert recorder.events == [*wanted, "end"]

    resumed = make(tmp_path, callbacks=[recorder])
    resumed.restore(2)
    assert resumed.checkpointer.steps() == [2]  # the run takes another course from there
    assert (resumed.training_iteration, resumed.num_steps, resumed.num_updates) == (2, 100, 50)
    assert len(resumed.runner.replay) >= 100
    result = resumed.run({"training_iteration": 4})
    assert [result["num_env_steps_sampled_lifetime"], result["num_updates_lifetime"]] == [200, 150]
    assert recorder.events[-4:] == ["start 2", "report 3", "report 4", "checkpoint 04"]
    resumed.close()


def test_a_finished_run_has_nothing_left_to_do(tmp_path):
    trainer = make(tmp_path)
    trainer.run()
    assert trainer.result["num_env_steps_sampled_lifetime"] == CONFIG.num_steps
    again = make(tmp_path)
    again.restore()
    assert again.run() == trainer.result
    assert again.training_iteration == 4


def test_an_interruption_ends_the_report_early_and_saves(tmp_path):
    class Interrupt(Callback):
        def on_progress(self, trainer):
            if trainer.num_steps > 60:
                trainer.interrupt()

    config = DqnConfig(
        hidden=(8,),
        warmup_steps=50,
        batch_size=4,
        steps_per_iteration=1,
        steps_per_report=350,
        num_steps=700,
    )
    trainer = Trainer(
        config, "CartPole-v1", run_folder=tmp_path, replay="host", callbacks=[Interrupt()]
    )
    result = trainer.run()
    assert result["num_env_steps_sampled_lifetime"] == 100  # it looks up every 100 steps
    assert trainer.checkpointer.latest() == 1
    resumed = Trainer(config, "CartPole-v1", run_folder=tmp_path, replay="host")
    resumed.restore()
    assert [resumed.train()["num_env_steps_sampled_lifetime"] for _ in range(2)] == [350, 700]


def test_on_device_n_then_m_reports_are_n_plus_m_bit_for_bit(tmp_path):
    def device(folder):
        return make(tmp_path / folder, runner="device", seed=3)

    whole = device("whole")
    whole_results = [whole.train() for _ in range(4)]
    first = device("parts")
    first.train(), first.train()
    first.save()
    second = device("parts")
    second.restore()
    results = [second.train() for _ in range(2)]
    for a, b in zip(
        jax.tree.leaves(whole.runner.state()[0]),
        jax.tree.leaves(second.runner.state()[0]),
        strict=True,
    ):
        if jax.numpy.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    times = {"steps_per_second", "time_this_iter_s", "time_total_s", "timestamp"}
    for a, b in zip(whole_results[2:], results, strict=True):
        assert {k: v for k, v in a.items() if k not in times} == {
            k: v for k, v in b.items() if k not in times
        }
    assert (second.evaluate(2) == whole.evaluate(2)).all()


def test_an_agent_is_loaded_to_act_without_replay_and_nothing_is_deleted(tmp_path):
    trainer = make(tmp_path)
    trainer.train(), trainer.train()
    trainer.save()
    trainer.train()
    trainer.save()
    path = trainer.checkpointer.path(2)
    older = TrainedAgent.load(path)
    assert older.checkpoint == path and trainer.checkpointer.steps() == [2, 3]
    newest = TrainedAgent.load(tmp_path)
    np.testing.assert_array_equal(newest.evaluate(3), trainer.evaluate(3))
    weights = older.get_weights(), newest.get_weights()
    assert any((x != y).any() for x, y in zip(*map(jax.tree.leaves, weights), strict=True))


def test_a_checkpoint_of_another_kind_of_trainer(tmp_path):
    trainer = make(tmp_path)
    trainer.train()
    trainer.save()
    with pytest.raises(CheckpointError, match="saved with runner 'loop', not 'device'"):
        make(tmp_path, runner="device").restore()
    other = Trainer(
        DqnConfig(hidden=(9,), warmup_steps=50, steps_per_iteration=1),
        "CartPole-v1",
        run_folder=tmp_path,
        replay="host",
    )
    with pytest.raises(
        CheckpointError, match=r"kernel: saved float32\[4, 8\], expected float32\[4, 9\]"
    ):
        other.restore()


def test_a_jax_environment_trains_in_both_loops():
    # Each of the 20 steps after the warm-up brings an update, and a boundary row brings none.
    for runner in ("loop", "device"):
        config = DqnConfig(
            hidden=(8,),
            warmup_steps=20,
            batch_size=4,
            steps_per_iteration=1,
            steps_per_report=40,
            max_episode_steps=10,
        )
        trainer = Trainer(config, envs.classic.MountainCar(), runner=runner, replay="host")
        assert trainer.train()["num_updates_lifetime"] == 20
        assert trainer.evaluate(2).tolist() == [-10, -10]
        trainer.close()


def test_what_cannot_be_built():
    with pytest.raises(TypeError, match=r"such as DqnConfig\(\)"):
        Trainer({"gamma": 1}, "CartPole-v1")
    with pytest.raises(ValueError, match="expected 'loop', 'vector', 'device' or 'ray', got 'gpu'"):
        make(runner="gpu")
    with pytest.raises(
        ValueError, match="runner 'vector' steps several environments at once; set config num_envs"
    ):
        make(runner="vector")
    with pytest.raises(
        ValueError, match="ES plays whole populations at once, on device; use runner 'device'"
    ):
        Trainer(EsConfig(), "CartPole-v1")
    with pytest.raises(
        ValueError, match="config policy_lag=4: only the device runner delays parameters"
    ):
        _ = Trainer(ImpalaConfig(policy_lag=4), "CartPole-v1").runner
    with pytest.raises(ValueError, match="did you mean CartPole-v1"):
        Trainer(CONFIG, "CartPol-v1", replay="host")
    with pytest.raises(ValueError, match="one discrete action"):
        Trainer(CONFIG, "Pendulum-v1", replay="host")
    with pytest.raises(ValueError, match="give it run_folder="):
        make().save()


@pytest.fixture(scope="module")
def small():
    """A trainer of DQN that has made a report."""
    trainer = Trainer(
        DqnConfig(warmup_steps=20, steps_per_report=60, hidden=(16,)), "CartPole-v1", replay="host"
    )
    trainer.train()
    yield trainer
    trainer.close()


def test_workers(small):
    """One entry, the local worker, with the weights of the local policy."""
    (weights,) = small.foreach_worker(lambda worker: worker.get_policy().get_weights())
    jax.tree.map(np.testing.assert_array_equal, weights, small.get_policy().get_weights())
    assert small.foreach_worker_with_index(lambda worker, i: (i, worker.num_steps)) == [
        (0, small.num_steps)
    ]


def test_a_trainer_in_words(small):
    text = repr(small)
    assert text.startswith("Trainer(DQN on CartPole-v1, runner 'loop', ") and "report" in text
    assert str(small.agent).startswith("DqnAgent\n")


# -- what is no longer finite, and folders of other runs

SMALL = {"hidden": (4,), "batch_size": 4, "warmup_steps": 20, "steps_per_iteration": 10}
RUNS = {
    "loop": DqnConfig(**SMALL, steps_per_report=40),
    "vector": DqnConfig(**SMALL, steps_per_report=40, num_envs=2),
    "device": DqnConfig(**SMALL, steps_per_report=40),
    "ray": DqnConfig(**SMALL, steps_per_report=40),
    "on-policy loop": PpoConfig(hidden=(4,), num_envs=2, num_rows=8, iterations_per_report=2),
    "on-policy device": PpoConfig(hidden=(4,), num_envs=2, num_rows=8, iterations_per_report=2),
    "evolution": EsConfig(hidden=(4,), population_size=4, max_steps=20, steps_per_report=60),
}


def run_of(name, folder=None, config=None):
    runner = {"on-policy loop": "vector", "on-policy device": "device", "evolution": "device"}
    return Trainer(
        RUNS[name] if config is None else config,
        "CartPole-v1",
        runner=runner.get(name, name),
        replay="host",
        run_folder=folder,
        **({"num_workers": 0} if name == "ray" else {}),
    )


def spoil(trainer):
    """Makes the parameters NaN, as an update on NaN does."""
    state = trainer.train_state
    params = jax.tree.map(lambda x: x * jnp.nan, state.params)
    trainer.train_state = dataclasses.replace(state, params=params)


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.filterwarnings("ignore:the loss is")
def test_training_on_nan_is_given_up_and_the_last_finite_checkpoint_stays(name, tmp_path):
    with closing(run_of(name, tmp_path)) as trainer:
        trainer.run({"training_iteration": 3}, checkpoint_freq=1)
        saved = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
        spoil(trainer)
        with pytest.raises(
            NonFiniteError, match=r"no checkpoint is saved .*00003 stays the newest"
        ):
            trainer.save()
        recorder = Recorder()
        trainer.callbacks = [recorder]
        with pytest.raises(NonFiniteError, match="training is given up: params/"):
            trainer.run({"training_iteration": 50}, checkpoint_freq=1)
        assert trainer.training_iteration <= 5 and recorder.results[-1]["training_iteration"] <= 5
        assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == saved
        trainer.callbacks = ()
        trainer.restore()
        assert np.isfinite(trainer.train()["loss"])


@pytest.mark.filterwarnings("ignore:a trial is given up")
@pytest.mark.filterwarnings("ignore:the loss is")
@pytest.mark.parametrize("together", [True, False])
def test_a_trial_that_is_given_up_leaves_the_others_alone(together, tmp_path):
    analysis = run_sweep(
        RUNS["on-policy device"],
        "CartPole-v1",
        {"learning_rate": grid_search([1e-3, 1e38]), "max_grad_norm": None},
        stop={"training_iteration": 3},
        runner="device",
        together=together,
        folder=tmp_path,
        checkpoint_freq=1,
    )
    good, bad = analysis.trials
    assert len(good.results) == 3 and len(bad.results) < 3
    assert bad.results[-1]["loss"] is None


@pytest.mark.parametrize("name", RUNS)
def test_a_new_run_does_not_touch_the_folder_of_another(name, tmp_path):
    with closing(run_of(name, tmp_path)) as old:
        old.run({"training_iteration": 2}, checkpoint_freq=1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    with closing(run_of(name, tmp_path)) as new:
        new.callbacks = recorders(tmp_path)
        for attempt in (new.train, lambda: new.run({"training_iteration": 1})):
            with pytest.raises(CheckpointError, match=r"\[1, 2\] of a run.*restore\(\), or choose"):
                attempt()
        with pytest.raises(CheckpointError, match="another run"):
            new.save()
        after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
        assert after == before
        new.restore()
        assert new.train()["training_iteration"] == 3
        new.save()


def test_a_run_may_save_before_it_trains(tmp_path):
    with closing(run_of("loop", tmp_path)) as trainer:
        trainer.save()
        trainer.run({"training_iteration": 1}, checkpoint_freq=1)
        assert trainer.checkpointer.steps() == [0, 1]

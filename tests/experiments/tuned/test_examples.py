import dataclasses
import json

import numpy as np
import pytest

from jax_agents import cli
from jax_agents.experiments import Analysis, make_config
from jax_agents.experiments.gates import table as gates
from jax_agents.experiments.sweeps.search_space import variants
from jax_agents.experiments.tuned.examples import load, names

EXAMPLES = {f"{name}/{e.name}": e for name in names() for e in load(name)}


@pytest.mark.parametrize("key", EXAMPLES)
def test_every_example_says_what_it_reaches_and_is_the_gate_that_it_names(key):
    experiment = EXAMPLES[key]
    configs = [make_config(experiment.run, values) for _, values in variants(experiment.config)]
    assert experiment.reaches and configs
    if experiment.gate is not None:
        gate = gates.find(experiment.gate)
        assert [c.settings() for c in configs] == [gate.configuration.settings()]
        assert [type(c) for c in configs] == [type(gate.configuration)]
        assert experiment.env == gate.environment


def test_every_gate_of_a_preset_has_an_example():
    wanted = {gate.name for gate in gates.GATES if dataclasses.is_dataclass(gate.configuration)}
    assert wanted == {experiment.gate for experiment in EXAMPLES.values() if experiment.gate}


@pytest.mark.parametrize(
    "name",
    [
        name if name == "cartpole-bc" else pytest.param(name, marks=pytest.mark.nightly)
        for name in names()
    ],
)
def test_the_command_trains_every_example(name, tmp_path):
    """For 3,000 steps after the warm-up."""
    (experiment,) = load(name)
    ((_, values), *_) = variants(experiment.config)
    steps = 3_000 + getattr(make_config(experiment.run, values), "warmup_steps", 0)
    stop = json.dumps({"num_env_steps_sampled_lifetime": steps})
    assert (
        cli.main(["train", "-f", name, "--stop", stop, "--no-video", "--out", str(tmp_path)]) == 0
    )
    analysis = Analysis.load(tmp_path)
    assert len(analysis.trials) == len(variants(experiment.config))
    for trial in analysis.trials:
        assert trial.last("num_env_steps_sampled_lifetime") >= steps and np.isfinite(
            trial.last("loss")
        )
        path, _ = trial.checkpoints()[-1]
        assert (
            int(path.name[-8:]) == len(trial.results)
            and (trial.folder / "evaluation.json").exists()
        )


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "one:\n  run: DQN\n  env: CartPole-v1\n"
        "two:\n  run: DQN\n  env: CartPole-v1\n  stop: {episode_return_mean: 450}\n"
        "  config: {learning_rate: {grid_search: [1e-3, 0.5]}, gamma: 0.9, hidden: {grid_search: "
        "[[8], [8, 4]]}}\n"
    )
    one, two = load(str(path))
    assert (one.name, one.run, one.env, one.stop, one.config) == (
        "one",
        "DQN",
        "CartPole-v1",
        None,
        {},
    )
    assert two.stop == {"episode_return_mean": 450}
    label, values = variants(two.config)[1]  # numbers such as 1e-3 are words in YAML
    assert (label, values) == (
        "learning_rate=0.001_hidden=8-4",
        {"learning_rate": 1e-3, "gamma": 0.9, "hidden": [8, 4]},
    )


@pytest.mark.parametrize(
    "text, message",
    [
        ("one: {run: DQN}", "expected at least the keys run and env"),
        ("one: {run: DQN, env: X, stopp: 1}", "no key 'stopp'; did you mean 'stop'"),
        ("- 1", "expected entries such as"),
        ("a: {b", "not YAML"),
        ("", "expected entries such as"),
    ],
)
def test_files_that_say_nothing_sensible(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load(str(path))


def test_names_that_are_wrong():
    with pytest.raises(
        ValueError,
        match="no tuned example and no file is called 'cartpole-pppo'; did you mean 'cartpole-ppo'",
    ):
        load("cartpole-pppo")

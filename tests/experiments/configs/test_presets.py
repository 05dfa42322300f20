import dataclasses
import json

import pytest

from jax_agents.envs.classic import CartPole, Pendulum
from jax_agents.experiments import DqnConfig
from jax_agents.experiments.configs import presets
from jax_agents.experiments.configs.presets import find_preset, make_config, name_of
from jax_agents.experiments.runners import make_loop


def test_values_from_json_get_the_types_of_the_keys():
    config = make_config(
        "DQN",
        json.loads(
            '{"hidden": [8, 4], "learning_rate": 1, "num_steps": 5e3, '
            '"double": true, "priority_exponent": null}'
        ),
    )
    assert config == DqnConfig(
        hidden=(8, 4), learning_rate=1.0, num_steps=5000, double=True, priority_exponent=None
    )
    assert isinstance(config.learning_rate, float) and isinstance(config.num_steps, int)
    assert make_config("DQN", {"priority_exponent": 0.6}).priority_exponent == 0.6


@pytest.mark.parametrize("name", presets.PRESETS)
def test_every_default_survives_json(name):
    config = presets.PRESETS[name].config
    assert make_config(name, json.loads(json.dumps(config.settings()))) == config
    assert make_config(name, {}) == config


@pytest.mark.parametrize(
    "values, message",
    [
        ({"learning_rat": 1e-3}, r"no key 'learning_rat'; did you mean 'learning_rate'"),
        ({"lr": 1}, r"no key 'lr'; there are num_steps, max_episode_steps, learning_rate, "),
        ({"gama": 1}, r"'gama'; did you mean 'gamma'"),
        ({"steps": 1}, r"did you mean .*'num_steps'"),
        ({"learning_rate": "fast"}, r"learning_rate: expected a number, got 'fast'"),
        ({"learning_rate": True}, r"learning_rate: expected a number, got True"),
        ({"num_steps": 1.5}, r"num_steps: expected a whole number, got 1.5"),
        ({"num_steps": True}, r"num_steps: expected a whole number, got True"),
        ({"double": 1}, r"double: expected true or false, got 1"),
        ({"hidden": 64}, r"hidden: expected a list of whole numbers, got 64"),
        ({"hidden": ["a"]}, r"hidden: expected a whole number, got 'a'"),
        ({"td_loss": "hubr"}, r"td_loss: expected 'huber' or 'squared', got 'hubr'"),
        ({"priority_exponent": "x"}, r"priority_exponent: expected a number, got 'x'"),
        ({"learning_rate": 0}, r"learning_rate: expected a positive number, got 0"),
        ({"gamma": 1.5}, r"gamma: expected a number from 0 to 1, got 1.5"),
        ({"num_steps": 0}, r"num_steps: expected at least 1, got 0"),
    ],
)
def test_errors_name_the_key_what_was_expected_and_the_nearest(values, message):
    with pytest.raises(ValueError, match=message):
        make_config("DQN", values)


def test_unknown_algorithms():
    with pytest.raises(ValueError, match="no algorithm 'dnq'; did you mean 'DQN'"):
        make_config("dnq", {})
    with pytest.raises(ValueError, match=r"no algorithm 'xyzzy'; there .* DQN"):
        presets.find_preset("xyzzy")


def test_configurations_fit_on_a_page():
    for preset in presets.PRESETS.values():
        assert len(dataclasses.fields(preset.config)) <= 35


# read by the trainer alone
TRAINERS = {
    "num_steps",
    "max_episode_steps",
    "steps_per_report",
    "iterations_per_report",
}


@pytest.mark.parametrize("name", presets.PRESETS)
def test_no_setting_is_left_unread(name):
    preset, read = presets.PRESETS[name], set()

    class Spy(type(preset.config)):
        def __getattribute__(self, key):
            read.add(key)
            return super().__getattribute__(key)

    values = preset.config.settings()
    values |= {"dataset": "controller"} if name == "BC" else {}
    config, env = (
        Spy(**values),
        Pendulum() if name in ("SAC", "TD3", "DDPG", "APEX_DDPG") else CartPole(),
    )
    read.clear()
    make_loop(config, config.agent(env.specs), env)
    assert set(values) - read <= TRAINERS


def test_an_algorithm_by_its_name_its_configuration_or_the_class_of_one():
    assert presets.resolve("RAINBOW") is presets.PRESETS["RAINBOW"].config
    assert presets.resolve(DqnConfig) == presets.resolve(DqnConfig()) == DqnConfig()
    for wrong in (3, int, presets.PRESETS["DQN"]):
        with pytest.raises(TypeError, match=r"such as DqnConfig\(\)"):
            presets.resolve(wrong)


@pytest.mark.parametrize("name", presets.PRESETS)
def test_a_configuration_knows_its_algorithm_which_is_no_setting(name):
    config = presets.PRESETS[name].config
    assert config.algorithm == name
    assert "algorithm" not in config.settings()
    again = presets.make_config(name, config.settings())
    assert again == config and again.algorithm == name
    assert dataclasses.replace(config, num_steps=7).algorithm == name
    with pytest.raises(ValueError, match="no key 'algorithm'"):
        presets.make_config(name, {"algorithm": "PPO"})


OWN = """
import dataclasses

from jax_agents.experiments import DqnConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnConfig(DqnConfig):
    '''My own DQN.'''

    double: bool = True
"""


def test_a_configuration_of_ones_own_by_module_and_class(tmp_path, monkeypatch):
    (tmp_path / "own_configs.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    name = "own_configs:OwnConfig"
    config = make_config(name, {"gamma": 0.9})
    assert (config.algorithm, config.gamma, config.double) == (name, 0.9, True)
    assert type(config).__name__ == "OwnConfig"
    assert find_preset(name).description == "My own DQN."
    assert make_config(config.algorithm, config.settings()) == config


def test_annotations_that_are_texts_and_other_kinds(tmp_path, monkeypatch):
    (tmp_path / "later_configs.py").write_text("from __future__ import annotations\n" + LATER)
    monkeypatch.syspath_prepend(tmp_path)
    name = "later_configs:LaterConfig"
    config = make_config(name, {"share": 1, "label": 3, "sizes": [1, 2]})
    assert (config.share, config.label, config.sizes) == (1.0, 3, [1, 2])
    assert make_config(name, {"label": "three"}).label == "three"
    with pytest.raises(ValueError, match="config share: expected a number from 0 to 1, got 2"):
        make_config(name, {"share": 2})
    with pytest.raises(ValueError, match=r"config label: expected str, got \[\]"):
        make_config(name, {"label": []})


LATER = """
import dataclasses

from jax_agents.experiments import DqnConfig
from jax_agents.experiments.configs.checking import Fraction


@dataclasses.dataclass(frozen=True, kw_only=True)
class LaterConfig(DqnConfig):
    share: Fraction = 0.5
    label: int | str | None = None
    sizes: list[int] | None = None
"""


def test_a_configuration_without_defaults_and_a_module_that_fails(tmp_path, monkeypatch):
    own = OWN.replace("double: bool = True", "level: int")
    (tmp_path / "bare_configs.py").write_text(own)
    (tmp_path / "failing_configs.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"each setting needs a default; .*level"):
        make_config("bare_configs:OwnConfig", {})
    with pytest.raises(ValueError, match="can be imported; ZeroDivisionError: division by zero"):
        make_config("failing_configs:OwnConfig", {})


def test_names_by_which_configurations_are_found():
    assert all(name_of(preset.config) == name for name, preset in presets.PRESETS.items())

    class OwnConfig(DqnConfig):
        pass

    assert name_of(OwnConfig()).endswith("<locals>.OwnConfig")
    assert name_of(OwnConfig(algorithm="somewhere:OwnConfig")) == "somewhere:OwnConfig"


@pytest.mark.parametrize(
    "name", ["own_configs_missing:OwnConfig", "json:Missing", "json:dumps", ":OwnConfig"]
)
def test_what_is_no_configuration_is_named(name):
    with pytest.raises(ValueError, match=f"no algorithm '{name}': expected"):
        make_config(name, {})

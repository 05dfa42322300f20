import jax
import jax.numpy as jnp
import pytest

from jax_agents.experiments import BcConfig, Config, EsConfig, PpoConfig, SacConfig
from jax_agents.experiments.configs.base import clipped, linear


def test_a_configuration_is_abstract_without_its_agent():
    with pytest.raises(TypeError, match="abstract"):
        Config(algorithm="MINE", num_steps=1)


def test_settings_are_values_that_json_can_hold():
    settings = PpoConfig(hidden=(3, 4)).settings()
    assert settings["hidden"] == [3, 4]
    assert "algorithm" not in settings and "num_steps" in settings


def test_families_answer_for_themselves():
    assert PpoConfig().default_runner == SacConfig().default_runner == "loop"
    assert EsConfig().default_runner == "device"
    assert SacConfig().learns_from is None
    assert BcConfig(dataset="rows.npz").learns_from == "rows.npz"
    one = EsConfig()
    assert one.vectorized() is one


def test_a_time_limit_is_a_number_or_none():
    assert SacConfig(max_episode_steps=-1).max_episode_steps == -1
    with pytest.raises(ValueError, match="config max_episode_steps: expected at least 1, or -1"):
        SacConfig(max_episode_steps=0)


def test_a_schedule_is_linear_or_constant():
    assert linear(0.5, None, 10) == 0.5
    schedule = linear(1.0, 0.0, 10)
    assert [float(schedule(update)) for update in (0, 5, 20)] == [1.0, 0.5, 0.0]


def test_gradients_are_clipped_to_a_global_norm_if_there_is_one():
    params = {"x": jnp.zeros(2)}
    gradient = {"x": jnp.array([30.0, 40.0])}
    for max_grad_norm, factor in ((0.5, 0.01), (None, 1.0)):
        optimizer = PpoConfig(max_grad_norm=max_grad_norm).optimizer()
        _, state = optimizer.update(gradient, optimizer.init(params), params, num_steps=0)
        moments = state[-1][0][0] if max_grad_norm else state[0][0]
        assert moments.mu["x"] == pytest.approx(0.1 * factor * gradient["x"])
    unchanged = jax.tree.map(lambda x: x, optimizer)
    assert clipped(None, unchanged) is unchanged

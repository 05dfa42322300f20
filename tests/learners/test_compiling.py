import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.learners.compiling import compile_ahead, compiler_options, optimization_level

pytestmark = pytest.mark.skipif(
    jax.default_backend() != "cpu", reason="elsewhere nothing is asked for"
)
SMALL = {"q": jnp.linspace(-1.0, 1.0, 64).reshape(8, 8)}
LARGE = {"q": jax.ShapeDtypeStruct((256, 256), np.float32)}


def compilations(caplog):
    return [message for message in caplog.messages if "Finished XLA compilation" in message]


def test_the_level_is_for_small_networks_and_gives_way_to_the_users(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=there")
    assert optimization_level(SMALL) == {"compiler_options": {"xla_backend_optimization_level": 1}}
    assert optimization_level(LARGE) == {}
    assert optimization_level(SMALL, level=0) == {
        "compiler_options": {"xla_backend_optimization_level": 0}
    }
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=2")
    assert optimization_level(SMALL) == {}


def test_the_order_is_for_small_updates(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    asked = lambda batch_size: (
        "xla_cpu_scheduler_type" in compiler_options(SMALL, batch_size)["compiler_options"]
    )
    assert asked(4) == (jax.__version_info__ >= (0, 10))
    assert not asked(10_000)


def test_options_change_how_an_update_is_run_and_not_what_it_gives(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    update = lambda params, x: jax.grad(lambda p: jnp.sum(jnp.tanh(x @ p["q"]) ** 2))(params)
    x = jnp.linspace(0.0, 1.0, 32).reshape(4, 8)
    results = [
        jax.jit(update, **options)(SMALL, x)
        for options in (compiler_options(SMALL, 4), optimization_level(SMALL), {})
    ]
    for result in results[:2]:
        np.testing.assert_allclose(result["q"], results[2]["q"], rtol=1e-6)


def test_what_is_compiled_ahead_is_what_the_call_runs(caplog):
    ahead, late = (jax.jit(lambda x, scale=scale: jnp.cos(x) * scale) for scale in (2.0, 3.0))
    compile_ahead(ahead, jax.ShapeDtypeStruct((5,), np.float32)).join()
    with jax.log_compiles():
        result = ahead(np.ones(5, np.float32))
        _ = late(np.ones(5, np.float32))
    np.testing.assert_allclose(result, 2 * np.cos(np.ones(5)), rtol=1e-6)
    assert len(compilations(caplog)) == 1  # late's


def test_an_error_ahead_is_left_to_the_call():
    def fails(x):
        raise ValueError("not a function")

    function = jax.jit(fails)
    compile_ahead(function, np.float32(1)).join()
    with pytest.raises(ValueError, match="not a function"):
        function(np.float32(1))

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.envs.specs import ArraySpec, BoundedSpec, DiscreteSpec
from jax_agents.networks import DeterministicActor, TanhNormalActor
from jax_agents.networks.continuous import check_continuous, clip_to_spec, half_range, scale_to_spec

SPEC = BoundedSpec((2,), np.float32, (-1.0, 0.0), (3.0, 0.5))
OBSERVATION = jax.random.normal(jax.random.key(1), (5, 7, 3))


def test_scaling_and_clipping_by_hand():
    np.testing.assert_allclose(half_range(SPEC), [2.0, 0.25])
    np.testing.assert_allclose(scale_to_spec(jnp.array([-1.0, 1.0]), SPEC), [-1.0, 0.5])
    np.testing.assert_allclose(scale_to_spec(jnp.array([[0.5, 0.0]]), SPEC), [[2.0, 0.25]])
    widest = BoundedSpec((2,), np.float32, -np.finfo(np.float32).max, np.finfo(np.float32).max)
    assert np.isfinite(scale_to_spec(jnp.array([-1.0, 1.0]), widest)).all()
    np.testing.assert_allclose(clip_to_spec(jnp.array([9.0, -9.0]), SPEC), [3.0, 0.0])


@pytest.mark.parametrize(
    "spec",
    [SPEC, BoundedSpec((), np.float32, -2.0, 2.0), BoundedSpec((2, 3), np.float32, -2.0, 2.0)],
)
@pytest.mark.parametrize("cls", [DeterministicActor, TanhNormalActor])
def test_actions_of_any_shape_keep_to_their_bounds(cls, spec):
    actor = cls(spec, (8,))
    variables = jax.tree.map(lambda x: 100 * x, actor.init(jax.random.key(0), OBSERVATION[0, 0]))
    distribution = actor.apply(variables, OBSERVATION)
    for action in (distribution.mode(), distribution.sample(jax.random.key(2))):
        assert action.shape == (5, 7, *spec.shape) and action.dtype == spec.dtype
        assert (action >= spec.low).all() and (action <= spec.high).all()
    assert distribution.log_prob(distribution.mode()).shape == (5, 7)


def test_first_actions_of_a_deterministic_actor_are_in_the_middle():
    actor = DeterministicActor(SPEC, (64, 64))
    action = actor.apply(actor.init(jax.random.key(0), OBSERVATION), OBSERVATION).mode()
    np.testing.assert_allclose(
        (action - np.array([1.0, 0.25])) / half_range(SPEC), np.zeros((5, 7, 2)), atol=0.1
    )
    assert (action[0, 0] != action[0, 1]).any()


def test_standard_deviations_depend_on_the_observation_and_are_clipped():
    actor = TanhNormalActor(SPEC, (8,), log_std_bounds=(-1.0, 0.5))
    variables = actor.init(jax.random.key(0), OBSERVATION)
    scale = actor.apply(variables, OBSERVATION).scale
    assert len(np.unique(np.asarray(scale).round(5))) > 10
    wild = actor.apply(jax.tree.map(lambda x: 100 * x, variables), OBSERVATION).scale
    np.testing.assert_allclose([wild.min(), wild.max()], np.exp([-1.0, 0.5]), rtol=1e-5)


def test_what_is_not_continuous_and_bounded_is_refused():
    for spec in (DiscreteSpec(2), ArraySpec((2,)), BoundedSpec((2,), np.int32, 0, 3), {"a": SPEC}):
        with pytest.raises(ValueError, match=r"Me: expected one continuous action.*do that"):
            check_continuous("Me", spec, "do that")
    for low, high in [(-np.inf, 1.0), (0.0, np.inf), (1.0, 1.0)]:
        with pytest.raises(ValueError, match="finite bounds with minimum < maximum"):
            check_continuous("Me", BoundedSpec((2,), np.float32, low, high), "do that")
    with pytest.raises(
        ValueError, match=r"TanhNormalActor: expected a vector observation.*default_encoder"
    ):
        TanhNormalActor(SPEC).init(jax.random.key(0), {"a": jnp.ones(2)})

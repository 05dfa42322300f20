import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents.envs.specs import ArraySpec
from jax_agents.networks import CriticNetwork, Ensemble, QNetwork, default_encoder


def test_values_have_the_leading_axes_and_depend_on_both_inputs():
    critic = CriticNetwork((8, 4))
    observation, action = jnp.ones((2, 3, 5)), jnp.ones((2, 3, 2))
    variables = critic.init(jax.random.key(0), observation[0, 0], action[0, 0])
    value = critic.apply(variables, observation, action)
    assert value.shape == (2, 3) and value.dtype == jnp.float32
    assert (critic.apply(variables, 2 * observation, action) != value).all()
    assert (critic.apply(variables, observation, 2 * action) != value).all()
    assert variables["params"]["MLP_0"]["Dense_0"]["kernel"].shape == (7, 8)


def test_actions_of_any_shape_and_dict_observations():
    spec = {"image": ArraySpec((2, 2)), "speed": ArraySpec((3,))}
    critic = CriticNetwork((8,), default_encoder(spec))
    observation, action = (
        {"image": jnp.ones((4, 2, 2)), "speed": jnp.ones((4, 3))},
        jnp.ones((4, 2, 3)),
    )
    variables = critic.init(jax.random.key(0), observation, action)
    assert critic.apply(variables, observation, action).shape == (4,)
    with pytest.raises(
        ValueError, match=r"CriticNetwork: expected a vector observation.*default_encoder"
    ):
        CriticNetwork((8,)).init(jax.random.key(0), observation, action)


def test_an_ensemble_is_its_members_side_by_side():
    critic = CriticNetwork((8,))
    observation, action = jax.random.normal(jax.random.key(1), (6, 5)), jnp.ones((6, 2))
    ensemble = Ensemble(critic, 3)
    variables = ensemble.init(jax.random.key(0), observation, action)
    values = ensemble.apply(variables, observation, action)
    assert values.shape == (3, 6) and len(np.unique(values[:, 0])) == 3
    for i in range(3):
        member = jax.tree.map(lambda x, i=i: x[i], variables)
        np.testing.assert_allclose(
            critic.apply(member, observation, action), values[i], rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("batch", [(), (4,), (2, 3), (2, 3, 2)], ids=str)
def test_an_ensemble_takes_any_leading_axes(batch):
    critic = CriticNetwork((8,))
    observation, action = jax.random.normal(jax.random.key(1), (*batch, 5)), jnp.ones((*batch, 2))
    variables = Ensemble(critic, 2).init(jax.random.key(0), jnp.ones(5), jnp.ones(2))
    values = Ensemble(critic, 2).apply(variables, observation, action)
    assert values.shape == (2, *batch)
    for i in range(2):
        member = jax.tree.map(lambda x, i=i: x[i], variables)
        np.testing.assert_allclose(
            critic.apply(member, observation, action), values[i], rtol=1e-5, atol=1e-6
        )


def test_large_members_stay_apart_and_compute_the_same():
    observation, action = jax.random.normal(jax.random.key(1), (6, 254)), jnp.ones((6, 2))
    for hidden, apart in ((255, False), (256, True)):  # the matrix is 256 x hidden
        critic = CriticNetwork((hidden,))
        ensemble = Ensemble(critic, 2)
        variables = ensemble.init(jax.random.key(0), observation, action)
        assert isinstance(variables, tuple) == apart
        values = ensemble.apply(variables, observation, action)
        assert values.shape == (2, 6)
        for i, key in enumerate(jax.random.split(jax.random.key(0))):
            own = critic.init(key, observation, action)
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
                ensemble.member(variables, i),
                own,
            )
            np.testing.assert_allclose(
                critic.apply(own, observation, action), values[i], rtol=1e-5, atol=1e-5
            )


def test_an_ensemble_of_any_network_and_its_size():
    network = Ensemble(QNetwork(4, (8,)), 2)
    variables = network.init(jax.random.key(0), jnp.ones(3))
    assert network.apply(variables, jnp.ones((5, 3))).shape == (2, 5, 4)
    with pytest.raises(ValueError, match="size >= 1, got 0"):
        Ensemble(QNetwork(4), 0)


def test_an_ensemble_sees_images_and_vectors_and_passes_gradients_back():
    spec = {"image": ArraySpec((2, 2)), "speed": ArraySpec((3,))}
    critic = CriticNetwork((8,), default_encoder(spec))
    ensemble = Ensemble(critic, 2)
    observation = {
        "image": jax.random.normal(jax.random.key(1), (4, 2, 2)),
        "speed": jnp.ones((4, 3)),
    }
    action = jax.random.normal(jax.random.key(2), (4, 2))
    variables = ensemble.init(jax.random.key(0), observation, action)

    def total(apply):
        return jax.grad(lambda v, o, a: jnp.sum(jnp.square(apply(v, o, a))), argnums=(0, 1, 2))(
            variables, observation, action
        )

    def one_by_one(variables, observation, action):
        member = lambda i: jax.tree.map(lambda x: x[i], variables)
        return jnp.stack([critic.apply(member(i), observation, action) for i in range(2)])

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        total(ensemble.apply),
        total(one_by_one),
    )

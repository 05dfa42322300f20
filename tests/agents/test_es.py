import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents.agents import EsAgent
from jax_agents.agents.es import centred_ranks
from jax_agents.envs.specs import ArraySpec, BoundedSpec, DiscreteSpec, EnvironmentSpecs
from jax_agents.envs.types import TimeStep
from jax_agents.networks import ActorNetwork, DeterministicActor, init_statistics, update_statistics
from jax_agents.networks.distributions import Deterministic

SPECS = EnvironmentSpecs(ArraySpec((2,)), BoundedSpec((2,), np.float32, -1.0, 1.0))


class Point:
    """Its action is its two parameters, whatever the observation."""

    def init(self, key, observation):
        return {"x": jnp.zeros(2)}

    def apply(self, variables, observation):
        return Deterministic(jnp.broadcast_to(variables["x"], (*observation.shape[:-1], 2)), 1)


def point(**fields):
    return EsAgent(
        SPECS, Point(), **{"optimizer": optax.sgd(1.0), "population_size": 4, "sigma": 0.5} | fields
    )


def positions(params):
    return params["params"]["actor"]["x"]


def test_centred_ranks():
    np.testing.assert_allclose(centred_ranks(jnp.array([3.0, -1.0, 100.0])), [0, -0.5, 0.5])
    np.testing.assert_allclose(
        centred_ranks(jnp.array([1.0, 5.0, 5.0, 9.0, 5.0])), [-0.5, 0, 0, 0.5, 0]
    )
    # nobody is better: there is nothing to follow
    np.testing.assert_allclose(centred_ranks(jnp.full(6, 500.0)), 0)
    np.testing.assert_allclose(centred_ranks(jnp.array([jnp.nan, 1.0, -1e30])), [-0.5, 0.5, 0])
    assert abs(float(centred_ranks(jax.random.normal(jax.random.key(0), (101,))).sum())) < 1e-5


def test_members_are_mirrored_pairs_and_follow_from_the_generations_parameters_and_their_index():
    agent = point(sigma=0.5)
    state = agent.init(jax.random.key(0))
    params = agent.policy_params(state)
    members = agent.ask(state)
    np.testing.assert_allclose(positions(members)[0::2], -positions(members)[1::2])
    alone = jax.jit(agent.member)(params, 3)  # what an actor elsewhere computes
    np.testing.assert_array_equal(positions(alone), positions(members)[3])
    assert len(np.unique(positions(members))) == 8
    many = point(population_size=20_000)
    np.testing.assert_allclose(
        positions(many.ask(many.init(jax.random.key(1)))).std(axis=0), 0.5, rtol=0.02
    )


def test_the_step_by_hand():
    """Ranks of fitness (7, 1, 2, 3) are (1/2, -1/2, -1/6, 1/6): the step is ((1/2 + 1/2) e_0 - (1/6
    + 1/6) e_1) / (4 sigma).
    """
    agent = point()
    state = agent.init(jax.random.key(0))
    noise = positions(agent.ask(state)) / 0.5
    after, info = jax.jit(agent.tell)(state, jnp.array([7.0, 1.0, 2.0, 3.0]))
    step = (noise[0] - noise[2] / 3) / (4 * 0.5)
    np.testing.assert_allclose(positions({"params": after.params}), step, rtol=1e-5)
    np.testing.assert_allclose(info.loss, -3.25)
    np.testing.assert_allclose(info.metrics["grad_norm"], np.linalg.norm(step), rtol=1e-5)
    assert info.metrics["best_fitness"] == 7 and info.metrics["sigma"] == 0.5 and after.step == 1
    assert (
        positions(agent.ask(after)) - positions(agent.policy_params(after))
        != positions(agent.ask(state))
    ).all()


def test_only_the_order_of_fitness_counts():
    agent = point()
    state = agent.init(jax.random.key(0))
    steps = [
        agent.tell(state, jnp.array(f))[0].params["actor"]["x"]
        for f in ([7.0, 1, 2, 3], [1e9, -5, 0, 0.1])
    ]
    np.testing.assert_allclose(*steps, rtol=1e-6)


def test_a_member_that_was_lost_is_below_all_others():
    agent = point()
    state = agent.init(jax.random.key(0))
    (lost, info), (worst, _) = (
        agent.tell(state, jnp.array([7.0, x, 2.0, 3.0])) for x in (jnp.nan, -1e9)
    )
    np.testing.assert_array_equal(lost.params["actor"]["x"], worst.params["actor"]["x"])
    assert info.metrics["best_fitness"] == 7 and info.loss == -4


def test_it_climbs():
    # ranks do not shrink near the top, so the steps have to
    falling = optax.linear_schedule(0.05, 0.0, 200)
    agent = point(
        optimizer=optax.sgd(falling),
        population_size=20,
        sigma=optax.exponential_decay(0.2, 1, 0.99),
    )
    target = jnp.array([0.7, -0.4])

    def generation(state, _):
        fitness = -jnp.sum(jnp.square(positions(agent.ask(state)) - target), axis=-1)
        return agent.tell(state, fitness)

    state, info = jax.jit(lambda s: jax.lax.scan(generation, s, length=200))(
        agent.init(jax.random.key(0))
    )
    np.testing.assert_allclose(positions({"params": state.params}), target, atol=0.02)
    np.testing.assert_allclose(info.metrics["sigma"][::100], [0.2, 0.2 * 0.99**100], rtol=1e-4)


def test_weight_decay_is_the_optimizers():
    agent = point(optimizer=optax.chain(optax.add_decayed_weights(0.1), optax.sgd(1.0)))
    state = agent.init(jax.random.key(0))
    state = state.replace(params=jax.tree.map(lambda x: x + 2.0, state.params))
    after, _ = agent.tell(state, jnp.ones(4))
    np.testing.assert_allclose(after.params["actor"]["x"], 2.0 - 0.1 * 2.0)


def test_statistics_of_all_members_travel_with_the_policys_parameters():
    agent = point(normalize_observations=True)
    state = agent.init(jax.random.key(0))
    observations = np.random.default_rng(0).normal(5.0, 2.0, (4, 30, 2)).astype(np.float32)
    fresh = init_statistics(SPECS.observation)
    seen = jax.vmap(lambda x: update_statistics(fresh, x))(observations)
    for count in (120, 240):
        state, _ = agent.tell(state, jnp.ones(4), seen)
        statistics = agent.policy_params(state)["observation_statistics"]
        np.testing.assert_allclose(statistics.count, count)
        np.testing.assert_allclose(statistics.mean, observations.mean((0, 1)), rtol=1e-5)
        np.testing.assert_allclose(statistics.variance, observations.var((0, 1)), rtol=1e-4)


@pytest.mark.parametrize(
    "spec", [DiscreteSpec(3), DiscreteSpec((2, 3)), ArraySpec((2,)), SPECS.action], ids=str
)
def test_every_head_acts_by_its_mode(spec):
    specs = EnvironmentSpecs(ArraySpec((2,)), spec)
    bounded = isinstance(spec, BoundedSpec)
    network = DeterministicActor(spec, (4,)) if bounded else ActorNetwork(spec, (4,))
    agent = EsAgent(specs, network, optax.adam(0.01), population_size=6)
    members = agent.ask(agent.init(jax.random.key(0)))
    step = TimeStep(
        jnp.ones((6, 5), jnp.int32), jnp.zeros((6, 5)), jnp.ones((6, 5)), jnp.ones((6, 5, 2))
    )
    act = jax.jit(
        jax.vmap(lambda params, time_step: agent.collect_policy.action(params, time_step).action)
    )
    action = act(members, step)
    assert action.shape == (6, 5, *spec.shape) and action.dtype == spec.dtype
    np.testing.assert_array_equal(action, act(members, step))
    np.testing.assert_array_equal(action, jnp.broadcast_to(action[:, :1], action.shape))


ALTERED = {
    "specs": dataclasses.replace(SPECS, action=BoundedSpec((2,), np.float32, -0.1, 0.1)),
    "network": DeterministicActor(SPECS.action, (3,)),
    "optimizer": optax.adam(0.1),
    "population_size": 6,
    "sigma": 0.1,
    "normalize_observations": True,
}


def test_every_field_of_the_configuration_changes_something():
    assert set(ALTERED) == {field.name for field in dataclasses.fields(EsAgent)}

    def outcome(agent):
        state = agent.init(jax.random.key(0))
        members = agent.ask(state)
        time_step = TimeStep(jnp.int32(1), jnp.float32(0), jnp.float32(1), jnp.ones(2))
        action = jax.vmap(lambda params: agent.collect_policy.action(params, time_step).action)(
            members
        )
        seen = update_statistics(init_statistics(SPECS.observation), jnp.ones((3, 2)))
        seen = (jax.tree.map(lambda x: x[None], seen),) if agent.normalize_observations else ()
        after, info = agent.tell(state, jnp.arange(float(agent.population_size)), *seen)
        return [
            np.ravel(x) for x in jax.tree.leaves((action, after.params, after.extra, info.loss))
        ]

    base = outcome(point())
    for name, value in ALTERED.items():
        changed = outcome(dataclasses.replace(point(), **{name: value}))
        same = len(base) == len(changed) and all(
            np.array_equal(a, b) for a, b in zip(base, changed, strict=True)
        )
        assert not same, f"{name} changes nothing"


def test_errors():
    for size in (3, 0):
        with pytest.raises(ValueError, match=f"even population_size of at least 2, got {size}"):
            point(population_size=size)
    with pytest.raises(ValueError, match=r"network: expected outputs \[2, 3, 3\].*got \[2, 3, 2\]"):
        EsAgent(EnvironmentSpecs(ArraySpec((2,)), ArraySpec((3,))), Point(), optax.sgd(1.0))
    agent = point()
    state = agent.init(jax.random.key(0))
    with pytest.raises(ValueError, match=r"one number for each member, \[4\], got \[3\]"):
        agent.tell(state, jnp.ones(3))
    with pytest.raises(ValueError, match="statistics: got none, but normalize_observations=True"):
        point(normalize_observations=True).tell(state, jnp.ones(4))

"""PPO's losses, against TF-Agents' numbers and by hand; the rest is in `test_on_policy.py`."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents.agents import Examples, PpoAgent
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs
from jax_agents.learners.sharding import pad_batch
from jax_agents.networks import ActorNetwork, ActorValueNetwork, ValueNetwork
from jax_agents.networks.distributions import Normal

SPECS = EnvironmentSpecs(ArraySpec((2,)), ArraySpec((1,)))


class Linear:
    """Normal(2x + y + 5, standard deviation x + y + 5), and V = 2x + y + 5."""

    def init(self, key, observation):
        return {"w": jnp.array([[2.0, 1.0], [1.0, 1.0]]), "b": jnp.array([5.0, 5.0])}

    def apply(self, variables, observation):
        outputs = observation @ variables["w"] + variables["b"]
        return Normal(outputs[..., :1], outputs[..., 1:]), outputs[..., 0]


def run(weights=None, weight=(1.0, 1.0), old=None, extra=None, **options):
    """The loss on case 4's data: observations (1, 2) and (3, 4)."""
    agent = PpoAgent(SPECS, Linear(), optax.sgd(1.0), advantages="none", **options)
    state = agent.init(jax.random.key(0))
    state = state.replace(extra=state.extra | (extra or {}))
    examples = Examples(
        observation=jnp.array([[1.0, 2.0], [3.0, 4.0]]),
        action=jnp.array([[0.0], [1.0]]),
        log_prob=jnp.array([0.9, 0.3]),
        advantage=jnp.array([1.9, 1.0]),
        target=jnp.array([1.9, 1.0]),
        value=jnp.array([9.0, 15.0]) if old is None else jnp.array(old),
        weight=jnp.array(weight),
        distribution=Normal(jnp.array([[9.0], [15.0]]), jnp.array([[4.0], [12.0]])),
    )
    return agent.loss(state.params, state, examples, jax.random.key(0), weights)


def test_policy_loss():
    """Case 4.1: ratios 0.010767827 and 0.012470359, which a clip of 10 leaves alone."""
    assert run(clip_ratio=10.0).metrics["policy_loss"] == pytest.approx(-0.0164646133, rel=1e-4)
    assert run(clip_ratio=None).metrics["policy_loss"] == pytest.approx(-0.0164646133, rel=1e-4)


def test_value_loss():
    """Case 4.2: the mean of 7.1^2 and 14^2."""
    info = run(clip_ratio=None, value_coefficient=1.0)
    assert info.metrics["value_loss"] == pytest.approx(123.205, rel=1e-6)
    assert info.loss == pytest.approx(123.205 - 0.0164646, rel=1e-6)


def test_entropy():
    """Case 4.3: the mean entropy of N(., 8) and N(., 12)."""
    with_bonus, without = run(entropy_coefficient=0.1), run()
    assert with_bonus.metrics["entropy"] == pytest.approx(3.70111, rel=1e-5)
    assert with_bonus.loss - without.loss == pytest.approx(-0.370111, rel=1e-4)


def test_clipped_value():
    """V = (9, 15). Held within 1 of (5, 15), errors are max(7.1^2, 4.1^2) and 14^2; within 1 of 12,
    the first is 9.1^2.
    """
    assert run(value_clip=1.0, old=(5.0, 15.0)).metrics["value_loss"] == pytest.approx(
        (7.1**2 + 14**2) / 2
    )
    assert run(value_clip=1.0, old=(12.0, 15.0)).metrics["value_loss"] == pytest.approx(
        (9.1**2 + 14**2) / 2
    )


def test_clip_ratio_is_a_schedule():
    """Ratios of 0.01 lie below 1 - epsilon, where a positive advantage counts in full."""
    info = run(clip_ratio=lambda step: 0.5 + step)
    assert info.metrics["clip_fraction"] == 1.0
    assert info.metrics["policy_loss"] == pytest.approx(-0.0164646133, rel=1e-4)


def test_kl_penalty():
    """KL(N(9, 4) || N(9, 8)) = ln 2 + 1/8 - 1/2 = 0.3181472, and 0 for the other row; beta 3."""
    info = run(clip_ratio=None, kl_target=0.01, extra={"kl_beta": jnp.float32(3.0)})
    assert info.metrics["kl"] == pytest.approx(0.3181472 / 2, rel=1e-5)
    assert info.loss - run(clip_ratio=None).loss == pytest.approx(3 * 0.3181472 / 2, rel=1e-4)


def test_kl_beta_adapts_between_batches():
    agent = PpoAgent(
        SPECS, Linear(), optax.sgd(0.01), kl_target=0.01, initial_kl_beta=2.0, clip_ratio=None
    )
    state = agent.init(jax.random.key(0))
    middle, numbers = np.ones((2, 3), np.int32), np.ones((2, 3), np.float32)
    info = {"log_prob": -3 * numbers}
    row = agent.collect_data_spec._replace(
        step_type=middle, next_step_type=middle, reward=numbers, discount=numbers
    )
    experience = row._replace(
        observation=np.ones((2, 3, 2), np.float32),
        action=np.ones((2, 3, 1), np.float32),
        policy_info=info,
    )
    prepare = jax.jit(agent.prepare)
    state, batch = prepare(state, experience)
    assert state.extra["kl_beta"] == 2.0  # no update has been made yet
    np.testing.assert_allclose(
        batch.distribution.loc[:, 0], agent.apply(state.params, batch.observation)[0].loc[:, 0]
    )
    trained, info = agent.train(state, batch)
    assert info.metrics["kl"] == 0  # before the only update; what counts is what it did:
    after, _ = agent.apply(trained.params, batch.observation)
    kl = float(batch.distribution.kl_divergence(after).mean())
    # over steps, not boundary rows
    experience = experience._replace(step_type=np.array([[1, 1, 1], [2, 1, 1]], np.int32))
    for factor, beta in [(1.6, 4.0), (1.2, 2.0), (0.6, 1.0)]:
        aim = dataclasses.replace(agent, kl_target=kl / factor)
        adapted, _ = jax.jit(aim.prepare)(trained, experience)
        assert adapted.extra["kl_beta"] == beta
        chex.assert_trees_all_equal(adapted.extra["old_params"], trained.params)


def test_examples_of_weight_0_do_not_count_for_the_advantages():
    """So that a batch that was padded to fit its devices makes the same update."""
    agent = PpoAgent(SPECS, Linear(), optax.sgd(1e-3))
    state, count = agent.init(jax.random.key(0)), jnp.arange(5.0)
    advantage = jnp.array([0.0, 1.0, 2.0, 3.0, 20.0])
    batch = Examples(
        jnp.stack([count, -count], 1),
        count[:, None],
        -count,
        advantage,
        advantage,
        count,
        jnp.ones(5),
    )
    expected, _ = agent.train(state, batch)
    got, _ = agent.train(state, *pad_batch(batch, None, 4))
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), expected.params, got.params
    )


def test_weights_and_rows_of_weight_0():
    """Denominators of the loss are fixed: half of the first row's alone. Metrics are means."""
    rows = {"weight": (1.0, 0.0)}, {"weights": jnp.array([0.0, 3.0])}
    for options, loss, mean in zip(rows, (7.1**2 / 2, 3 * 14**2 / 2), (7.1**2, 14**2), strict=True):
        info = run(**options, value_coefficient=1.0)
        without = run(**options, value_coefficient=0.0)
        assert info.loss - without.loss == pytest.approx(loss, rel=1e-5)
        assert info.metrics["value_loss"] == pytest.approx(mean)


@pytest.mark.parametrize("advantages", ["minibatch", "batch"])
@pytest.mark.parametrize("num_minibatches", [4, 2])
def test_the_actor_learns_from_a_minibatch_of_one_example(advantages, num_minibatches):
    """Four steps of one episode each, in as many mini-batches; or two, each with a boundary row."""
    specs = EnvironmentSpecs(ArraySpec((2,)), DiscreteSpec(2))
    network = ActorValueNetwork(ActorNetwork(specs.action, ()), ValueNetwork(()))
    agent = PpoAgent(specs, network, optax.sgd(0.1), advantages=advantages)
    numbers = jnp.ones(4)
    state = jax.jit(agent.init)(jax.random.key(0))
    examples = Examples(
        observation=jnp.ones((4, 2)),
        action=jnp.array([0, 1, 0, 1]),
        log_prob=jnp.log(numbers / 2),
        advantage=jnp.array([1.0, -1.0, 3.0, -2.0]),
        target=numbers,
        value=numbers,
        weight=numbers if num_minibatches == 4 else jnp.array([1.0, 0.0, 0.0, 1.0]),
    )
    train = jax.jit(agent.train)
    for i in range(num_minibatches):
        part = jax.tree.map(lambda x, i=i: jnp.split(x, num_minibatches)[i], examples)
        after, _ = train(state, part)
        actors = [x.params["actor_value"]["params"]["actor"] for x in (state, after)]
        moved = jax.tree.map(lambda x, y: jnp.any(x != y), *actors)
        assert any(jax.tree.leaves(moved))

"""The agents of docs/extend.md: their length, and that each trains in every kind of runner."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import agents, envs, learners, networks, replay
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs, sample

PAGE = Path(__file__).parents[1] / "docs" / "extend.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def block(class_name):
    return next(block for block in BLOCKS if f"class {class_name}(" in block)


def load(*class_names):
    namespace = {"__name__": "extend"}
    for source in (BLOCKS[0], *map(block, class_names)):
        exec(compile(source, PAGE.name, "exec"), namespace)
    return namespace


@pytest.fixture(scope="module")
def kinds():
    names = ("PointMass", "QuantileCritic", "MunchausenDqnAgent", "TqcAgent")
    namespace = load(*names)
    return {name: namespace[name] for name in names}


def munchausen(kinds, specs, **options):
    network = networks.QNetwork(specs.action.num_values, (16,), noisy_sigma=0.5)
    options = {"double": True, "n_step": 3, "epsilon": 0.0} | options
    return kinds["MunchausenDqnAgent"](specs, network, optax.adam(1e-2), **options)


def tqc(kinds, specs):
    actor = networks.TanhNormalActor(specs.action, (16,))
    return kinds["TqcAgent"](specs, actor, kinds["QuantileCritic"](5), optax.adam(1e-2))


def case(kinds, name):
    """An agent, and an environment in JAX for it."""
    if name == "munchausen":
        env = envs.classic.CartPole()
        return munchausen(kinds, env.specs), env
    env = kinds["PointMass"]()
    return tqc(kinds, env.specs), env


@pytest.mark.parametrize("name", ["MunchausenDqnAgent", "TqcAgent"])
def test_at_most_forty_lines(name):
    lines = [line for line in block(name).splitlines() if line.strip()]
    assert len(lines) <= 40


@pytest.mark.parametrize("name", ["munchausen", "tqc"])
def test_in_a_scan_over_three_seeds(kinds, name):
    agent, env = case(kinds, name)
    loop = learners.OffPolicyScan(agent, env, num_envs=2, batch_size=16, warmup_rows=20)
    keys = jax.random.split(jax.random.key(0), 3)
    states, history = jax.jit(jax.vmap(lambda key: loop.train(key, num_iterations=20)))(keys)
    assert history["loss"].shape == (3, 1) and np.isfinite(history["loss"]).all()
    leaf = jax.tree.leaves(states.train.params)[0]
    assert (leaf[0] != leaf[1]).any() and (states.train.step == 20).all()


@pytest.mark.parametrize("name", ["munchausen", "tqc"])
def test_in_a_python_loop(kinds, name):
    agent, env = case(kinds, name)
    buffer = replay.HostReplay(
        agent.collect_data_spec, capacity=500, sequence_length=agent.train_sequence_length
    )
    host = envs.HostEnvironment(env)
    loop = learners.OffPolicyLoop(agent, host, buffer, batch_size=16, key=jax.random.key(0))
    loop.warm_up(50)
    before = loop.state
    assert np.isfinite(loop.run(10)["loss"])
    after = loop.state
    moved = jax.tree.map(lambda x, y: bool((x != y).any()), before.params, after.params)
    assert any(jax.tree.leaves(moved)) and int(after.step) == 10


@pytest.mark.parametrize("name", ["munchausen", "tqc"])
def test_two_devices_compute_what_one_does(kinds, name):
    agent, _ = case(kinds, name)
    length = agent.train_sequence_length
    rows = sample(agent.collect_data_spec, jax.random.key(1), (8, length))
    rows = rows._replace(step_type=np.ones((8, length), np.int32))
    one = learners.Learner(agent)
    two = learners.Learner(agent, jax.local_devices()[:2], "pmap")
    single, _ = one.train(one.init(jax.random.key(0)), rows)
    double, _ = two.train(two.init(jax.random.key(0)), rows)
    close = lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5)
    jax.tree.map(close, two.fetch(double).params, single.params)


def test_munchausens_loss_by_hand_with_masks(kinds):
    """Three actions, the last one forbidden in both observations."""
    specs = EnvironmentSpecs(ArraySpec((1,)), DiscreteSpec(3))
    agent = munchausen(kinds, specs, temperature=0.5, td_loss=agents.losses.squared)
    mask = jnp.array([True, True, False])
    values_tm1 = jnp.array([1.0, 0.0, 9.0])
    values_t = jnp.array([0.5, 2.0, 9.0])
    example = agents.ValueExample(
        outputs_tm1=jnp.array([3.0, 4.0, 5.0]),
        a_tm1=jnp.int32(1),
        r_t=jnp.float32(0.1),
        discount_t=jnp.float32(0.9),
        outputs_t=values_t,
        selector_t=values_t,
        mask_t=mask,
        target_outputs_tm1=values_tm1,
        mask_tm1=mask,
    )
    loss, td_error = agent.example_loss(example)
    log_pi = -np.log(1 + np.exp(1.0 / 0.5))  # of action 1 among the first two
    bonus = 0.9 * max(0.5 * log_pi, -1.0)
    soft = 0.5 * np.log(np.exp(0.5 / 0.5) + np.exp(2.0 / 0.5))  # tau log-sum-exp(q / tau)
    assert td_error == pytest.approx(0.1 + bonus + 0.9 * soft - 4.0, rel=1e-5)
    assert loss == pytest.approx(float(td_error) ** 2, rel=1e-5)
    grads = jax.grad(lambda q: agent.example_loss(example._replace(outputs_tm1=q))[0])
    np.testing.assert_allclose(grads(example.outputs_tm1)[jnp.array([0, 2])], 0.0)


def test_munchausen_draws_noise_and_explores(kinds):
    env = envs.classic.CartPole()
    agent = munchausen(kinds, env.specs)
    state = agent.init(jax.random.key(0))
    rows = sample(agent.collect_data_spec, jax.random.key(1), (4, 4))
    loss = lambda seed: agent.loss(state.params, state, rows, jax.random.key(seed)).loss
    assert loss(0) == loss(0) and loss(0) != loss(1)


def test_tqc_leaves_the_greatest_quantiles_out_of_its_targets(kinds):
    """A critic whose quantiles are constants: the target is r + the mean of the lower ones."""

    class Constant:
        num_quantiles = 4

        def init(self, key, observation, action):
            return {"z": jnp.array([0.0, 1.0, 2.0, 100.0])}

        def apply(self, variables, observation, action):
            return jnp.broadcast_to(variables["z"], (*observation.shape[:-1], 4))

    env = kinds["PointMass"]()
    actor = networks.TanhNormalActor(env.specs.action, (8,))
    agent = kinds["TqcAgent"](
        env.specs, actor, Constant(), optax.sgd(1.0), dropped=1, temperature=0.0, gamma=1.0
    )
    state = agent.init(jax.random.key(0))
    rows = sample(agent.collect_data_spec, jax.random.key(1), (2, 2))
    rows = rows._replace(
        step_type=np.ones((2, 2), np.int32),
        reward=np.zeros((2, 2), np.float32),
        discount=np.ones((2, 2), np.float32),
    )
    # The greatest quantile is compared with 0, 1 and 2 alone: its gradient is (1 - tau) each.
    grads = jax.grad(lambda p: agent.loss(p, state, rows, jax.random.key(2)).loss)(state.params)
    greatest = np.asarray(grads["critic"]["z"])[:, 3]
    np.testing.assert_allclose(greatest, 0.125, rtol=1e-6)

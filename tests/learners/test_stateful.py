"""A learner that holds its state: hooks, state and weights in and out, files, and an update in two
halves on parts.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import agents, networks
from jax_agents.agents.agent import LossInfo, apply_loss, example_keys, init_state, weighted_mean
from jax_agents.envs.specs import ArraySpec, BoundedSpec, DiscreteSpec, EnvironmentSpecs, sample
from jax_agents.envs.types import StepType
from jax_agents.experiments import CheckpointError
from jax_agents.learners import NonFiniteError, StatefulLearner
from jax_agents.learners.sharding import split_batch, weighted_average

SPECS = EnvironmentSpecs(ArraySpec((3,)), DiscreteSpec(2))
AGENT = agents.DqnAgent(
    SPECS, networks.QNetwork(2, (4,)), optax.adam(0.01), target_update=agents.polyak(0.3)
)
KEY = jax.random.key(0)


def rows(agent, size, length=2, seed=0):
    """Random experience whose first row is a boundary row, so that a part's mean is not its rows'
    mean by chance.
    """
    trajectory = sample(agent.collect_data_spec, jax.random.key(seed), (size, length))
    step_type = np.full((size, length), StepType.MID)
    step_type[0, 0] = StepType.LAST
    fields = {"step_type": step_type, "next_step_type": np.full((size, length), StepType.MID)}
    return jax.tree.map(
        np.asarray, trajectory._replace(**fields, discount=np.ones((size, length), np.float32))
    )


@pytest.fixture(scope="module")
def learner():
    return StatefulLearner(AGENT, key=KEY)


@pytest.fixture(autouse=True)
def afresh(request):
    """Each test finds the shared learner as it was built; its programs stay compiled."""
    if "learner" in request.fixturenames:
        request.getfixturevalue("learner").state = AGENT.init(KEY)


def test_a_learner_is_ready_when_it_is_constructed_and_updates_as_its_agent_does(learner):
    batch = rows(AGENT, 6)
    state, info = jax.jit(AGENT.train)(AGENT.init(KEY), batch)
    result = learner.update(batch, {"env_steps": 250})
    chex.assert_trees_all_equal(learner.state.params, state.params)
    assert {"loss", "grad_norm"} <= set(result["metrics"])
    assert all(type(value) is float for value in result["metrics"].values())
    np.testing.assert_allclose(result["metrics"]["loss"], info.loss, rtol=1e-6)
    assert isinstance(result["per_example"]["td_error"], np.ndarray) and result["per_example"][
        "td_error"
    ].shape == (6,)
    assert result["timesteps"] == {"env_steps": 250}
    with pytest.raises(TypeError, match="timesteps"):
        learner.update(batch)
    # one learner blocks: groups have another method
    with pytest.raises(TypeError, match="async_update"):
        learner.update(batch, {"env_steps": 250}, async_update=True)


def test_gradients_and_what_is_no_gradient_are_both_part_of_an_update(learner):
    before = learner.get_state()
    learner.update(rows(AGENT, 6), {})
    after = learner.get_state()
    mixed = jax.tree.map(
        lambda old, new: 0.7 * old + 0.3 * new, before["target_params"], after["params"]
    )
    chex.assert_trees_all_close(after["target_params"], mixed, rtol=1e-5)  # polyak, after the step
    assert int(after["step"]) == 1


class Annealed(StatefulLearner):
    """Notes calls of its hooks, and copies the targets after every second environment step."""

    def before_gradient_based_update(self, timesteps):
        self.seen = [
            *getattr(self, "seen", []),
            ("before", timesteps["env_steps"], int(self.state.step)),
        ]

    def after_gradient_based_update(self, timesteps):
        self.seen.append(("after", timesteps["env_steps"], int(self.state.step)))
        if timesteps["env_steps"] % 2 == 0:
            self.state = self.state.replace(target_params=self.state.params)


def test_hooks_run_around_each_update_and_may_change_the_state():
    hooked = Annealed(AGENT, key=KEY)
    hooked.update(rows(AGENT, 6), timesteps={"env_steps": 1})
    state = hooked.get_state()
    assert not np.allclose(
        jax.tree.leaves(state["target_params"])[1], jax.tree.leaves(state["params"])[1]
    )
    hooked.update(rows(AGENT, 6), timesteps={"env_steps": 2})
    state = hooked.get_state()
    chex.assert_trees_all_equal(state["target_params"], state["params"])
    assert hooked.seen == [("before", 1, 0), ("after", 1, 1), ("before", 2, 1), ("after", 2, 2)]


def test_the_state_comes_out_as_numpy_and_goes_in_by_component(learner):
    learner.update(rows(AGENT, 6), {})
    state = learner.get_state()
    assert set(state) == {"params", "target_params", "opt_state", "step", "key", "extra"}
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(state))
    assert set(learner.get_state("params")) == {"params"}
    assert set(learner.get_state(["step", "key"])) == {"step", "key"}
    chex.assert_trees_all_equal(learner.get_state("params")["params"], learner.get_weights())

    doubled = jax.tree.map(lambda x: 2 * x, state["params"])
    learner.set_state({"params": doubled})
    after = learner.get_state()
    chex.assert_trees_all_equal(after.pop("params"), doubled)
    # Adam's too
    chex.assert_trees_all_equal(
        after, {name: tree for name, tree in state.items() if name != "params"}
    )

    learner.set_state(state)
    learner.update(rows(AGENT, 6, seed=1), {})
    expected = learner.get_state()
    learner.set_state(state)
    learner.update(rows(AGENT, 6, seed=1), {})
    # the whole state decides, moments and key included
    chex.assert_trees_all_equal(learner.get_state(), expected)


def test_weights_go_in_alone_and_their_targets_follow(learner):
    learner.update(rows(AGENT, 6), {})
    before = learner.get_state()
    weights = jax.tree.map(lambda x: 3 * x, learner.get_weights("q"))
    assert set(weights) == {"q"}
    learner.set_weights(weights)
    after = learner.get_state()
    chex.assert_trees_all_equal(after["params"], weights)
    chex.assert_trees_all_equal(after["target_params"], weights)
    chex.assert_trees_all_equal(after["opt_state"], before["opt_state"])
    learner.update(rows(AGENT, 6), {})  # what went in was copied: the state can be donated
    chex.assert_tree_all_finite(weights)


def test_what_does_not_fit_is_refused_and_nothing_changes(learner):
    before = learner.get_state()
    with pytest.raises(
        ValueError, match=r"state: no component \['model'\]; there are \['params', 'target_params'"
    ):
        learner.get_state("model")
    with pytest.raises(ValueError, match=r"no component \['rl_module'\]"):
        learner.set_state({"rl_module": {}})
    with pytest.raises(ValueError, match=r"weights: no component \['actor'\]; there are \['q'\]"):
        learner.get_weights("actor")
    wrong = jax.tree.map(lambda x: x[..., :1], before["params"])
    with pytest.raises(
        ValueError, match=r"params/q/params/Dense_0/bias: expected float32\[2\], got an array \[1\]"
    ):
        learner.set_weights(wrong)
    with pytest.raises(
        ValueError, match=r"params/q/params/Dense_0/bias: expected float32\[2\], got an array \[1\]"
    ):
        learner.set_state({"step": before["step"] + 1, "params": wrong})
    with pytest.raises(ValueError, match=r"params: expected leaves .* get_state gives what fits"):
        learner.set_state({"params": {"q": {}}})
    chex.assert_trees_all_equal(learner.get_state(), before)


def test_files_hold_weights_and_optimizer_and_fit_a_learner_of_the_same_kind_only(
    learner, tmp_path
):
    learner.update(rows(AGENT, 6), {})
    saved = learner.get_state()
    folder = learner.save_to_path(tmp_path / "learner")
    assert folder == tmp_path / "learner"
    learner.update(rows(AGENT, 6), {})
    learner.restore_from_path(folder)
    chex.assert_trees_all_equal(learner.get_state(), saved)
    learner.state = AGENT.init(KEY)
    learner.save_to_path(folder)  # of an earlier step, which must win nevertheless
    learner.update(rows(AGENT, 6), {})
    learner.restore_from_path(folder)
    assert int(learner.get_state("step")["step"]) == 0
    with pytest.raises(FileNotFoundError, match="no checkpoint in"):
        learner.restore_from_path(tmp_path / "nothing")
    other = agents.DqnAgent(SPECS, networks.QNetwork(2, (5,)), optax.adam(0.01))
    with pytest.raises(CheckpointError, match="another kind of state"):
        StatefulLearner(other, key=KEY).restore_from_path(folder)


@pytest.mark.skipif(jax.device_count() < 4, reason="needs 4 devices")
def test_a_learner_on_several_devices_has_the_same_state(learner):
    batch = rows(AGENT, 6)
    learner.update(batch, {})
    several = StatefulLearner(AGENT, key=KEY, devices=jax.devices()[:2], method="pmap")
    several.update(batch, {})
    chex.assert_trees_all_close(several.get_weights(), learner.get_weights(), rtol=1e-5)
    several.set_state(learner.get_state())
    chex.assert_trees_all_equal(several.get_state(), learner.get_state())
    with pytest.raises(ValueError, match="a learner of a group uses method 'jit', got 'pmap'"):
        several.gradients(batch, {}, None, 0)


CONTINUOUS = EnvironmentSpecs(ArraySpec((3,)), BoundedSpec((2,), np.float32, -1.0, 1.0))


class Linear:
    """Minimises w x example, and clips its gradient to 1; examples may be "noisy", their mean
    "lost" or taken "twice".
    """

    def __init__(self, variant=""):
        self.variant = variant
        self.optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1.0))

    def init(self, key):
        return init_state({"w": jnp.zeros(1)}, self.optimizer, key)

    def train(self, state, experience, weights=None, *, shards=None):
        def loss(params, key):
            noise = jax.vmap(jax.random.normal)(example_keys(key, len(experience), shards))
            examples = experience + noise if self.variant == "noisy" else experience
            return LossInfo(weighted_mean(params["w"] * examples, weights), {}, {})

        state, info = apply_loss(
            state, loss, self.optimizer, shards=None if self.variant == "lost" else shards
        )
        if self.variant == "twice":
            shards.mean(state.params)
        return state, info


def ppo(**options):
    network = networks.ActorValueNetwork(
        networks.ActorNetwork(SPECS.action, (4,)), networks.ValueNetwork((4,))
    )
    return agents.PpoAgent(SPECS, network, optax.sgd(0.1), **options)


PPO = ppo(
    clip_ratio=0.1,
    kl_target=0.01,
    initial_kl_beta=0.2,
    value_clip=0.5,
    value_coefficient=0.25,
    entropy_coefficient=0.01,
    advantages="batch",
)
SAC = agents.SacAgent(
    CONTINUOUS,
    networks.TanhNormalActor(CONTINUOUS.action, (4,)),
    networks.CriticNetwork((4,)),
    optax.sgd(0.1),
)


@pytest.mark.parametrize(
    "agent",
    [PPO, pytest.param(SAC, marks=pytest.mark.nightly), Linear("noisy")],
    ids=["ppo", "sac", "noisy"],
)
def test_two_halves_on_uneven_parts_are_one_update_on_the_whole(agent):
    """What a group does, without processes; noise is keyed by the place in the whole batch."""
    whole = StatefulLearner(agent, key=KEY)
    if isinstance(agent, Linear):
        batch = np.arange(5, dtype=np.float32) / 8
    else:
        batch = rows(agent, 5, agent.train_sequence_length or 3)
    batch = whole.prepare(batch) if hasattr(agent, "prepare") else batch
    learners = [StatefulLearner(agent, key=KEY) for _ in range(3)]
    state = whole.get_state()
    for learner in learners:
        learner.set_state(state)
        # compiled once
        learner._gradients = learners[0]._gradients
        learner._apply = learners[0]._apply
    for _ in range(2):
        expected = whole.update(batch, {})
        parts = split_batch(batch, None, 3)
        halves = [
            learner.gradients(part.batch, {}, part.weights, part.first)
            for learner, part in zip(learners, parts, strict=True)
        ]
        mean = weighted_average(
            [gradients for gradients, _ in halves], [part.size for part in parts]
        )
        metrics = [learner.apply(mean, {}) for learner in learners]
    for learner in learners:
        chex.assert_trees_all_close(learner.get_state(), whole.get_state(), rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_equal(*metrics)
    np.testing.assert_allclose(metrics[0]["loss"], expected["metrics"]["loss"], rtol=1e-5)
    np.testing.assert_allclose(metrics[0]["grad_norm"], expected["metrics"]["grad_norm"], rtol=1e-5)


def test_the_mean_is_clipped_not_its_parts():
    first = StatefulLearner(Linear(), key=KEY)
    second = StatefulLearner(Linear(), key=KEY)
    for examples, moved in [
        ([4.0, -3.0], -0.5),
        ([9.0, 0.0], -1.0),
    ]:
        parts = split_batch(np.array(examples, np.float32), None, 2)
        pair = list(zip((first, second), parts, strict=True))
        gradients = [
            learner.gradients(part.batch, {}, part.weights, part.first)[0] for learner, part in pair
        ]
        before = first.get_weights()["w"]
        mean = weighted_average(gradients, [1, 1])
        metrics = [learner.apply(mean, {}) for learner in (first, second)]
        np.testing.assert_allclose(first.get_weights()["w"] - before, [moved])
        np.testing.assert_allclose(metrics[0]["grad_norm"], np.mean(examples))
    chex.assert_trees_all_equal(first.get_state(), second.get_state())


@pytest.mark.parametrize(("variant", "times"), [("lost", 0), ("twice", 2)])
def test_a_custom_update_that_does_not_average_once_is_refused(variant, times):
    learner = StatefulLearner(Linear(variant), key=KEY)
    with pytest.raises(
        TypeError,
        match=f"Linear.train averaged {times} times over shards, expected once; hand shards",
    ):
        learner.gradients(np.ones(2, np.float32), {}, None, 0)


def test_losses_that_normalise_over_their_batch_are_refused_where_it_is_split():
    learner = StatefulLearner(ppo(advantages="minibatch"), key=KEY)
    examples = jax.eval_shape(learner.agent.prepare, learner.state, rows(learner.agent, 2, 3))[1]
    examples = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), examples)
    with pytest.raises(ValueError, match=r"PpoAgent\(advantages='batch'\) does so in prepare"):
        learner.gradients(examples, {}, None, 0)


def test_only_on_policy_agents_prepare(learner):
    with pytest.raises(
        ValueError, match="DqnAgent has no prepare: give its batches to update as they are"
    ):
        learner.prepare(rows(AGENT, 2))


def test_what_is_not_finite_is_not_saved_over_what_is(learner, tmp_path):
    learner.save_to_path(tmp_path)
    good = learner.get_weights()
    learner.set_weights(jax.tree.map(lambda x: x * np.nan, good))
    with pytest.raises(NonFiniteError, match="the state is not saved: params/q/params/"):
        learner.save_to_path(tmp_path)
    learner.restore_from_path(tmp_path)
    chex.assert_trees_all_equal(learner.get_weights(), good)


@pytest.mark.parametrize("steps", [(3, 2, 1), (1, 2, 3), (2, 2, 2)])
def test_a_save_replaces_what_was_there_whatever_its_step(learner, tmp_path, steps):
    for step in steps:
        learner.set_state({"step": np.int32(step)})
        learner.save_to_path(tmp_path)
        learner.restore_from_path(tmp_path)
        assert int(learner.state.step) == step

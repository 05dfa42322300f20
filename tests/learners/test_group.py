"""Groups of 0, 1 and 2 learners update alike; asynchronous updates, state, files, deaths, memory.

The tests of one group follow one another; the last one kills it.
"""

import os
import signal
import sys
import time
import traceback
from pathlib import Path

import chex
import jax
import numpy as np
import optax
import pytest

from jax_agents import agents, networks
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs, sample
from jax_agents.learners import LearnerError, LearnerGroup, StatefulLearner

SPECS = EnvironmentSpecs(ArraySpec((3,)), DiscreteSpec(2))
SIZES = (10, 7, 1)  # divides by 2; does not; leaves a learner without any


def make_agent():
    # Adam would hide a wrong scale
    optimizer = optax.chain(optax.clip_by_global_norm(0.3), optax.sgd(0.1))
    network = networks.QNetwork(2, (8,))
    return agents.DqnAgent(SPECS, network, optimizer, double=True, target_update=agents.polyak(0.3))


class Gated(StatefulLearner):
    """Waits before an update for a file that time steps name; notes what its hooks were told."""

    def before_gradient_based_update(self, timesteps):
        self.told = [*getattr(self, "told", []), ("before", *timesteps)]
        while "gate" in timesteps and not os.path.exists(timesteps["gate"]):
            time.sleep(0.005)

    def after_gradient_based_update(self, timesteps):
        self.told.append(("after", *timesteps))


def make_learner():
    return Gated(make_agent(), key=jax.random.key(0))


AGENT = make_agent()


def batch(size, seed=0):
    return jax.tree.map(
        np.asarray, sample(AGENT.collect_data_spec, jax.random.key(seed), (size, 2))
    )


def step(index):
    """Update number `index`: its batch, its time steps, and weights with the uneven ones."""
    size = SIZES[index % 3]
    return (
        batch(size, index),
        {"env_steps": index},
        np.linspace(0.2, 2, size, dtype=np.float32) if size == 7 else None,
    )


@pytest.fixture(scope="module")
def ray(ray_on_this_machine):
    # no module that an actor could import
    ray_on_this_machine.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    return ray_on_this_machine


@pytest.fixture(scope="module")
def pair(ray):
    with LearnerGroup(make_learner, 2, timeout=120) as group:
        yield group


@pytest.fixture(autouse=True)
def afresh(request):
    """Each test that has the pair finds it as it was built."""
    if "pair" in request.fixturenames:
        request.getfixturevalue("pair").set_state(START)


START = StatefulLearner(AGENT, key=jax.random.key(0)).get_state()


def run(group, updates=20):
    """The results of updates on batches of all sizes."""
    return [group.update(*step(index)) for index in range(updates)]


@pytest.fixture(scope="module")
def expected():
    """The agent's own update, without any learner."""
    train = jax.jit(AGENT.train)
    state = AGENT.init(jax.random.key(0))
    infos = []
    for index in range(20):
        rows, _, weights = step(index)
        state, info = train(state, rows, weights)
        infos.append(info)
    return state, infos


@pytest.mark.parametrize("count", [0, 1, 2])
def test_20_updates_of_plain_sgd_agree_whatever_the_number_of_learners(count, expected, request):
    state, infos = expected
    if count == 2:
        group = request.getfixturevalue("pair")
        group.set_state(START)
    else:
        if count:
            request.getfixturevalue("ray")
        group = LearnerGroup(make_learner, count, timeout=120)
    results = run(group)
    assert len(group) == max(1, count)
    chex.assert_trees_all_close(
        group.get_weights(), jax.device_get(state.params), rtol=1e-5, atol=1e-7
    )
    chex.assert_trees_all_close(
        group.get_state()["target_params"],
        jax.device_get(state.target_params),
        rtol=1e-5,
        atol=1e-7,
    )
    # so clipping before the mean would show
    assert sum(float(info.metrics["grad_norm"]) > 0.3 for info in infos) > 5
    for result, info in zip(results, infos, strict=True):
        chex.assert_trees_all_close(
            result["metrics"], {k: float(v) for k, v in info.metrics.items()}, rtol=1e-4, atol=1e-6
        )
        np.testing.assert_allclose(
            result["per_example"]["td_error"], info.per_example["td_error"], rtol=1e-4, atol=1e-5
        )
    assert [result["timesteps"]["env_steps"] for result in results] == list(range(20))
    if count < 2:
        group.close()


def test_the_learners_stay_bitwise_equal_and_hooks_run_in_each(pair):
    pair.foreach_learner(lambda learner: setattr(learner, "told", []))
    run(pair, 3)
    first, second = pair.foreach_learner(lambda learner: learner.get_state())
    chex.assert_trees_all_equal(first, second)
    told = pair.foreach_learner(lambda learner: learner.told)
    assert told == [[("before", "env_steps"), ("after", "env_steps")] * 3] * 2
    assert len({*pair.foreach_learner(lambda learner: os.getpid()), os.getpid()}) == 3
    # whatever is simulated here
    assert pair.foreach_learner(lambda learner: len(jax.devices())) == [
        1,
        1,
    ]


def test_asynchronous_updates_return_earlier_results_and_count_drops(pair, tmp_path):
    gate = tmp_path / "open"
    for index in range(5):
        results = pair.async_update(batch(10, index), {"index": index, "gate": str(gate)})
        assert results == []
    assert (pair.num_in_flight, pair.num_dropped) == (3, 2)
    gate.touch()
    pair.get_weights()  # finds all updates made that were taken
    results = pair.async_update(batch(10, 5), {"index": 5})
    assert isinstance(results, list) and isinstance(results[0], dict)
    results += pair.flush()
    assert [result["timesteps"]["index"] for result in results] == [0, 1, 2, 5]
    assert all(set(result) == {"metrics", "per_example", "timesteps"} for result in results)
    assert (pair.num_in_flight, pair.num_dropped, pair.flush()) == (0, 2, [])
    asynchronous = pair.get_state()
    pair.set_state(START)
    for index in (0, 1, 2, 5):
        pair.update(batch(10, index), {})
    chex.assert_trees_all_equal(pair.get_state(), asynchronous)


def test_state_and_weights_reach_all_learners(pair):
    run(pair, 2)
    state = pair.get_state()
    assert set(pair.get_state(["params", "step"])) == {"params", "step"}
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(state))
    doubled = jax.tree.map(lambda x: 2 * x, pair.get_weights("q"))
    pair.set_weights(doubled)
    for got in pair.foreach_learner(lambda learner: learner.get_state()):
        chex.assert_trees_all_equal(got["params"], doubled)
        chex.assert_trees_all_equal(got["opt_state"], state["opt_state"])
    pair.set_state(state)
    for got in pair.foreach_learner(lambda learner: learner.get_state()):
        chex.assert_trees_all_equal(got, state)


def test_files_of_two_learners_fit_any_number_of_them(pair, tmp_path):
    run(pair, 4)
    folder = pair.save_to_path(tmp_path / "group")
    saved = pair.get_state()
    run(pair, 1)
    pair.restore_from_path(folder)
    for got in pair.foreach_learner(lambda learner: learner.get_state()):
        chex.assert_trees_all_equal(got, saved)
    alone = LearnerGroup(make_learner)
    alone.restore_from_path(folder)
    chex.assert_trees_all_equal(alone.get_state(), saved)


def test_what_a_learner_raises_is_raised_here_and_the_group_goes_on(pair):
    run(pair, 1)
    before = pair.get_state()
    with pytest.raises(ValueError, match="sequence_length") as caught:
        pair.update(jax.tree.map(lambda x: x[:, :1], batch(10)), {})
    # a line of the traceback there
    assert "in gradients" in "".join(traceback.format_exception(caught.value))
    chex.assert_trees_all_equal(pair.get_state(), before)
    with pytest.raises(ValueError, match="one B >= 1"):
        pair.async_update(batch(0), {})
    run(pair, 1)
    chex.assert_trees_all_equal(*pair.foreach_learner(lambda learner: learner.get_state()))


def test_what_it_is_told_is_checked(pair):
    with pytest.raises(TypeError, match="timesteps"):
        pair.update(batch(10))
    with pytest.raises(ValueError, match="num_learners=-1"):
        LearnerGroup(make_learner, -1)
    with pytest.raises(ValueError, match="max_in_flight=0"):
        LearnerGroup(make_learner, max_in_flight=0)
    alone = LearnerGroup(make_learner)
    with pytest.raises(ValueError, match="got num_learners=0: use 1 or more, or update"):
        alone.async_update(batch(10), {})
    assert alone.flush() == [] and alone.foreach_learner(lambda learner: learner.agent.specs) == [
        SPECS
    ]
    alone.close()
    with pytest.raises(LearnerError, match=r"the group is closed.*Build another one"):
        alone.update(batch(10), {})


@pytest.mark.parametrize(
    "resources", [{"num_cpus_per_learner": 64}, {"num_gpus_per_learner": 0.5}], ids=["cpus", "gpus"]
)
def test_learners_that_there_is_no_room_for(ray, resources):
    with pytest.raises(
        LearnerError,
        match=r"did not start in 1 s.* of 4 CPUs and 0 GPUs in all.*Lower these, call ray.init",
    ):
        LearnerGroup(make_learner, 2, timeout=1, **resources)


def private_memory():
    """This process's memory in MB, without what it shares with Ray's object store."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_batches_and_results_leave_nothing_behind_in_this_process(pair):
    large = batch(20_000)
    megabytes = sum(leaf.nbytes for leaf in jax.tree.leaves(large)) / 2**20
    for index in range(3):
        pair.update(large, {"env_steps": index})
    before = private_memory()
    updates = int(300 / megabytes)  # half again what the object store holds
    for index in range(updates):
        pair.async_update(large, {"env_steps": index})
    pair.flush()
    assert private_memory() - before < 50


@pytest.mark.nightly
def test_a_learner_that_cannot_be_built_is_told_of_with_its_traceback(ray):
    def make():
        raise RuntimeError("no such network")

    with pytest.raises(
        LearnerError, match=r"learner 0 of 1 could not be built[^$]*no such network"
    ):
        LearnerGroup(make, 1)


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_flat_over_thousands_of_updates(pair):
    def measure():
        return np.array([private_memory(), *pair.foreach_learner(lambda learner: private_memory())])

    def work(updates):
        for index in range(updates):
            pair.update(batch(100, index % 10), {"env_steps": index})

    work(1_000)
    before = measure()
    work(4_000)
    assert (measure() - before < 30).all(), (before, measure())


def test_a_killed_learner_is_reported_and_another_group_goes_on_from_the_file(
    pair, tmp_path, expected, gone
):
    run(pair, 17)
    pair.save_to_path(tmp_path)
    pids = pair.foreach_learner(lambda learner: os.getpid())
    os.kill(pids[1], signal.SIGKILL)
    with pytest.raises(
        LearnerError,
        match=r"learner.* has died\. The group cannot go on: build another one, and restore_from",
    ):
        for _ in range(3):  # it may have died after its half of the first
            pair.update(batch(10), {"env_steps": 0})
    pair.close()
    assert gone(pids)
    with LearnerGroup(make_learner) as another:
        another.restore_from_path(tmp_path)
        for index in range(17, 20):
            another.update(*step(index))
        chex.assert_trees_all_close(
            another.get_weights(), jax.device_get(expected[0].params), rtol=1e-5, atol=1e-7
        )

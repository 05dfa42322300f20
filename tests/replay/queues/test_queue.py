"""What every queue of on-policy experience does, in process and on a Reverb server."""

import itertools
import threading
import time

import jax
import numpy as np
import optax
import pytest

from jax_agents import agents, drivers, envs, networks, replay
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs, trajectory_spec
from jax_agents.envs.types import StepType, Trajectory

SPEC = trajectory_spec(
    EnvironmentSpecs({"id": ArraySpec((), np.int32)}, DiscreteSpec(2)), {"log_prob": ArraySpec(())}
)


@pytest.fixture(
    params=[
        "host",
        pytest.param(
            "reverb", marks=pytest.mark.skipif(not replay.has_reverb(), reason="no Reverb")
        ),
    ]
)
def make(request):
    queues = []

    def make(spec=SPEC, **options):
        kind = replay.HostQueue if request.param == "host" else replay.ReverbQueue
        queues.append(kind(spec, **({"timeout": 10.0} | options)))
        return queues[-1]

    yield make
    for queue in queues:
        queue.close()


def stream(first_id, seed, longest=7):
    """Endless rows of episodes of random lengths; each observation is a number of its own."""
    rng, ids = np.random.default_rng(seed), itertools.count(first_id)
    while True:
        steps = int(rng.integers(1, longest + 1))
        for i in range(steps + 1):
            now = StepType.LAST if i == steps else StepType.MID if i else StepType.FIRST
            then = (
                StepType.FIRST if i == steps else StepType.LAST if i == steps - 1 else StepType.MID
            )
            n = np.int32(next(ids))
            yield Trajectory(
                now,
                {"id": n},
                np.int32(n % 2),
                {"log_prob": np.float32(-n)},
                then,
                np.float32(n),
                np.float32(1),
            )


def stacked(streams):
    return jax.tree.map(lambda *x: np.stack(x), *[next(s) for s in streams])


def check_segment(item, num_rows):
    """Consecutive rows, then a bootstrap row that only shows an observation; their numbers."""
    ids = item.observation["id"]
    assert ids.tolist() == list(range(ids[0], ids[0] + num_rows + 1))
    np.testing.assert_array_equal(item.step_type[1:], item.next_step_type[:-1])
    np.testing.assert_array_equal(item.reward[:-1], ids[:-1])
    assert (
        item.reward[-1]
        == item.discount[-1]
        == item.policy_info["log_prob"][-1]
        == item.next_step_type[-1]
        == 0
    )
    return ids[:-1].tolist()


def check_episode(item, num_rows):
    ids = item.observation["id"]
    last = int(np.argmax(item.step_type == StepType.LAST))
    assert len(ids) == num_rows + 2 and item.step_type[0] == StepType.FIRST and last >= 1
    assert ids.tolist() == [*range(ids[0], ids[last] + 1), *[ids[last]] * (num_rows + 1 - last)]
    assert item.next_step_type.tolist()[last - 1 :] == [
        StepType.LAST,
        *[StepType.FIRST] * (num_rows + 2 - last),
    ]
    return ids[: last + 1].tolist()


@pytest.mark.parametrize("episodes", [False, True])
def test_nothing_is_lost_and_nothing_is_used_twice(make, episodes):
    """Four writers in threads (one of them with three environments), two readers, a queue that is
    full most of the time.
    """
    queue = make(num_rows=7, episodes=episodes, capacity=3)
    shown, taken, each = [], [], 120

    def write(first_id, n):
        add = queue.writer()
        streams = [stream(first_id + 10_000 * i, first_id + i) for i in range(n)]
        for _ in range(each):
            row = stacked(streams) if n > 1 else next(streams[0])
            add(row)
            shown.extend(np.ravel(row.observation["id"]).tolist())

    def read(dataset):
        for batch in dataset:
            taken.extend(jax.tree.map(lambda x, i=i: x[i], batch) for i in range(2))

    writers = [
        threading.Thread(target=write, args=(100_000 * k, n)) for k, n in enumerate([1, 3, 1, 1])
    ]
    readers = [threading.Thread(target=read, args=(queue.as_dataset(2),)) for _ in range(2)]
    for thread in writers + readers:
        thread.start()
    for thread in writers:
        thread.join()
    deadline = time.monotonic() + 10
    while len(queue) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.5)
    queue.close()
    for thread in readers:
        thread.join(10)
        assert not thread.is_alive()
    taken += list(queue._taken)  # an odd one that no batch of two held
    used = [n for item in taken for n in (check_episode if episodes else check_segment)(item, 7)]
    assert len(used) == len(set(used)) and set(used) <= set(shown) and queue.num_dropped == 0
    open_rows = sum(int(writer.assembler._length.sum()) for writer in queue._writers)
    assert len(shown) == 6 * each == len(used) + open_rows
    for first in (0, 100_000, 110_000, 120_000, 200_000, 300_000):  # and in order, of each stream
        own = [n for n in used if n // 10_000 == first // 10_000]
        assert sorted(own) == list(range(first, first + len(own))) and len(own) >= each - 8


def test_first_in_first_out(make):
    queue = make(num_rows=2, capacity=10)
    rows = stream(0, 0)
    for _ in range(9):
        queue.add(next(rows))
    assert queue.num_rows == 2 and queue.num_dropped == 0
    batch = next(queue.as_dataset(4))
    assert batch.observation["id"].tolist() == [[0, 1, 2], [2, 3, 4], [4, 5, 6], [6, 7, 8]]
    assert batch.observation["id"].dtype == np.int32 and isinstance(batch.reward, np.ndarray)
    assert len(queue) == 0


def test_a_full_queue_blocks_its_writer_and_loses_nothing(make):
    queue = make(num_rows=1, capacity=2, timeout=0.4)
    rows, refused = stream(0, 0), 0
    for _ in range(6):  # Reverb's reader takes an item or two ahead only once it reads
        try:
            queue.add(next(rows))
        except TimeoutError as error:
            refused += 1
            assert "2 of at most 2 items wait" in str(error) and "make capacity hold" in str(error)
    # rows 0 to 5: five segments, of which three are kept back
    assert refused == 3 and len(queue) == 2
    dataset, got = queue.as_dataset(1), []
    for _ in range(2):
        got.append(next(dataset).observation["id"][0, 0])
    thread = threading.Thread(target=lambda: queue.add(next(rows)))
    thread.start()
    for _ in range(4):
        got.append(next(dataset).observation["id"][0, 0])
    thread.join(5)
    assert got == [0, 1, 2, 3, 4, 5]


def test_an_empty_queue_times_out_and_keeps_what_it_took(make):
    queue = make(num_rows=1, capacity=8, timeout=0.5)
    rows = stream(0, 0)
    queue.add(next(rows))
    queue.add(next(rows))
    dataset = queue.as_dataset(2)
    with pytest.raises(
        TimeoutError,
        match=r"waiting for 2 items took longer.*1 were taken for a batch, 2 rows were added",
    ):
        next(dataset)
    queue.add(next(rows))
    assert next(queue.as_dataset(2)).observation["id"].tolist() == [[0, 1], [1, 2]]


def test_close_wakes_everyone(make):
    queue = make(num_rows=1, capacity=1)
    rows, ended = stream(0, 0), []

    def write():
        try:
            for row in rows:
                queue.add(row)
        except RuntimeError as error:
            ended.append(str(error))

    other = make(num_rows=1)
    writer = threading.Thread(target=write)
    reader = threading.Thread(target=lambda: ended.append(list(other.as_dataset(1))))
    writer.start()
    reader.start()
    time.sleep(0.3)
    start = time.monotonic()
    queue.close()
    other.close()
    writer.join(5)
    reader.join(5)
    assert not writer.is_alive() and not reader.is_alive() and time.monotonic() - start < 5
    assert len(ended) == 2 and [] in ended and any("closed" in e for e in ended if e)
    queue.close()
    with pytest.raises(RuntimeError, match="closed"):
        queue.add(next(rows))
    assert list(queue.as_dataset(1)) == []


def test_a_row_that_does_not_continue_drops_the_open_item(make):
    queue = make(num_rows=3)
    for row in [*itertools.islice(stream(0, 0), 2), *itertools.islice(stream(100, 1), 4)]:
        queue.add(row)
    assert queue.num_dropped == 2
    assert next(queue.as_dataset(1)).observation["id"].tolist() == [[100, 101, 102, 103]]


def test_bad_input(make):
    with pytest.raises(ValueError, match="num_rows must be an integer of at least 1, got 0"):
        make(num_rows=0)
    with pytest.raises(ValueError, match="timeout"):
        make(num_rows=1, timeout=0)
    queue = make(num_rows=3, episodes=True)
    with pytest.raises(envs.SpecError, match="observation/id"):
        queue.add(next(stream(0, 0))._replace(observation={"id": np.zeros(3, np.int32)}))
    with pytest.raises(ValueError, match="sample_batch_size"):
        queue.as_dataset(0)
    long = stream(0, 0, longest=1)
    queue.add(next(long))
    with pytest.raises(ValueError, match=r"as first given, got \(2,\)"):
        queue.add(stacked([long, stream(50, 0)]))


def episodes_agent(env):
    network = networks.ActorNetwork(env.specs.action, hidden=(8,))
    return agents.ReinforceAgent(env.specs, network, optax.sgd(0.1), normalize_observations=True)


def test_reinforce_learns_from_whole_episodes_as_from_their_rows(make):
    """TF-Agents' way: N episodes, then an update. Padding changes nothing: as in one segment."""
    env = envs.HostEnvironment(envs.classic.CartPole(max_episode_steps=30))
    agent, rows = episodes_agent(env), []
    state = agent.init(jax.random.key(0))
    queue = make(agent.collect_data_spec, num_rows=30, episodes=True)
    driver = drivers.Driver(
        env, agent.collect_policy, [queue.add, rows.append], key=jax.random.key(1), seed=0
    )
    driver.run(num_episodes=3, params=agent.policy_params(state))
    experience = next(queue.as_dataset(3))
    assert experience.step_type.shape == (3, 32) and len(rows) < 3 * 31
    train = jax.jit(lambda state, experience: agent.train(*agent.prepare(state, experience)))
    after, info = train(state, experience)
    segment = jax.tree.map(lambda *x: np.stack(x)[None], *rows, rows[-1])
    expected, _ = train(state, segment)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6),
        after.params,
        expected.params,
    )
    statistics = [s.extra["observation_statistics"] for s in (after, expected)]
    assert statistics[0].count == statistics[1].count == len(rows)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), *statistics)
    assert np.isfinite(info.loss)


def test_bootstrap_completes_the_segments_at_once(make):
    """So a loop over the queue is the loop over segments: see `OnPolicyLoop`."""
    env = envs.HostEnvironment(envs.classic.CartPole(max_episode_steps=9), 2)
    agent, rows = episodes_agent(env), []
    params = agent.policy_params(agent.init(jax.random.key(0)))
    queue = make(agent.collect_data_spec, num_rows=5)
    driver = drivers.Driver(env, agent.collect_policy, [queue.add, rows.append], seed=0)
    for k in range(3):
        time_step = driver.run(num_rows=5, params=params)
        queue.bootstrap(time_step)
        batch = next(queue.as_dataset(2))
        last = envs.types.bootstrap_row(time_step, rows[-1])
        expected = jax.tree.map(lambda *x: np.stack(x, axis=1), *rows[5 * k :], last)
        jax.tree.map(np.testing.assert_array_equal, batch, expected)
    assert queue.num_dropped == 0


@pytest.mark.parametrize("episodes", [True, False])
@pytest.mark.parametrize("num_envs", [None, 2])
def test_episodes_without_their_boundary_rows_are_refused(make, episodes, num_envs):
    queue = make(num_rows=4, episodes=episodes)
    rows = [row for row in itertools.islice(stream(0, 1), 60) if row.step_type != StepType.LAST]
    if num_envs:
        rows = [jax.tree.map(lambda *x: np.stack(x), row, row) for row in rows]
    with pytest.raises(ValueError, match="boundary row between them is missing"):
        for row in rows:
            queue.add(row)

"""Slices of rows: episodes across them, parameters, the warm-up, and versions in rows."""

from functools import partial

import numpy as np
import pytest

from jax_agents.drivers import BlockWriter, Collector, ParallelDriver, ParameterServer, collector
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs, trajectory_spec
from jax_agents.envs.types import TimeStep
from jax_agents.policies import RandomPolicy, with_version
from jax_agents.replay import HostReplay

SPECS = EnvironmentSpecs(ArraySpec((2,), np.int32), DiscreteSpec(3))


def random_policy(specs):
    return RandomPolicy(specs.action)


class Ragged:
    """Three environments whose episodes end at random, independently, with random rewards."""

    specs = SPECS
    num_envs = 3

    def __init__(self):
        self.rng = np.random.default_rng(0)
        self.step_type = np.zeros(3, np.int32)

    def reset(self, seed=None):
        time_step = self.step(None)
        self.step_type = np.zeros(3, np.int32)
        return time_step._replace(step_type=self.step_type)

    def step(self, action):
        ended = np.where(self.rng.random(3) < 0.3, 2, 1)
        self.step_type = np.where(self.step_type == 2, 0, ended).astype(np.int32)
        return TimeStep(
            self.step_type,
            self.rng.random(3, np.float32),
            np.ones(3, np.float32),
            np.zeros((3, 2), np.int32),
        )

    def close(self):
        pass


@pytest.mark.parametrize("num_rows", [1, 7, 64])
def test_returns_and_lengths_of_episodes_that_span_slices(num_rows):
    driver = ParallelDriver(Ragged, random_policy, num_rows=num_rows)
    driver.publish(0, {})
    blocks = list(driver.run(num_steps=400))
    returns = np.zeros(3)
    lengths = np.zeros(3, int)
    expected = []
    for row in (row for block in blocks for row in block):
        for i in np.flatnonzero(row.step_type != 2):
            returns[i] += row.reward[i]
            lengths[i] += 1
            if row.next_step_type[i] == 2:
                expected.append((returns[i], lengths[i]))
                returns[i] = lengths[i] = 0
    assert len(expected) > 50
    np.testing.assert_allclose(
        np.concatenate([block.returns for block in blocks]), [r for r, _ in expected]
    )
    np.testing.assert_array_equal(
        np.concatenate([block.lengths for block in blocks]), [n for _, n in expected]
    )


def test_actors_ask_for_parameters_only_where_there_may_be_newer_ones(environments, monkeypatch):
    asked = []
    pull = ParameterServer.pull_if_newer
    monkeypatch.setattr(
        ParameterServer, "pull_if_newer", lambda self, have: asked.append(have) or pull(self, have)
    )
    monkeypatch.setattr(collector, "_PULL_SECONDS", 60.0)
    own = ParallelDriver(environments(), random_policy)
    others = ParallelDriver(environments(), random_policy, parameters=ParameterServer())
    for driver, expected in (own, [-1, 4]), (others, [-1, 4, 4, 5, 5]):
        asked.clear()
        for version in (4, 4, 5, 5, 5):
            driver.publish(version, {})
            driver.poll()
        assert asked == expected
    monkeypatch.setattr(collector, "_PULL_SECONDS", 0.0)
    own.parameters.push(9, {})  # past the driver
    assert own.poll()[0].version == 9


def test_random_actions_at_first_and_parameters_for_one_actor(environments):
    class Told:
        def initial_state(self, batch_shape=()):
            return ()

        def action(self, params, time_step, state=(), key=None):
            import jax.numpy as jnp

            from jax_agents.envs.types import PolicyStep

            return PolicyStep(
                jnp.full(time_step.step_type.shape, params["a"] + params["b"], jnp.int32), state
            )

    driver = ParallelDriver(
        environments(),
        lambda specs: Told(),
        num_rows=10,
        warmup_steps=10,
        actor_params=[{"b": np.int32(2)}],
    )
    driver.publish(0, {"a": np.int32(0), "b": np.int32(1)})
    first = driver.poll()[0]
    second = driver.poll()[0]
    assert len(np.unique(first.rows.action)) > 1 and (second.rows.action == 2).all()


def test_rows_carry_the_version_that_acted_into_the_replay(environments):
    """From blocks, and where an actor writes to the replay itself; random ones that of the time
    when they were made.
    """
    spec = with_version(trajectory_spec(SPECS))
    direct, through = (HostReplay(spec, capacity=200, sequence_length=2, seed=0) for _ in range(2))
    options = {"num_rows": 6, "warmup_steps": 6, "row_versions": True}
    in_blocks = ParallelDriver(environments(num_envs=None), random_policy, **options)
    in_place = ParallelDriver(
        environments(num_envs=None), random_policy, make_replay=lambda: direct, **options
    )
    write = BlockWriter(partial(through.writer, 1))
    made = {}
    for version in (0, 3, 8):
        for driver in (in_blocks, in_place):
            driver.publish(version, {})
        (block,) = in_blocks.poll()
        assert (
            block.version == version
            and block.rows.policy_info["version"].tolist() == [[version]] * 6
        )
        made |= dict.fromkeys(block.rows.observation[:, 0, 1].tolist(), version)
        write(block)
        in_place.poll()
    for buffer in (direct, through):
        experience, _ = next(buffer.as_dataset(100))
        versions = experience.policy_info["version"]
        numbers = experience.observation[..., 1]
        assert (
            versions.dtype == np.int32
            and versions.tolist() == np.vectorize(made.get)(numbers).tolist()
        )
        staleness = in_blocks.version - versions[:, 0]
        assert set(staleness.tolist()) == {0, 5, 8}


def test_slices_are_numbered_and_a_function_keeps_things_between_calls(environments):
    parameters = ParameterServer()
    made = Collector(
        2,
        1,
        make_env=environments(),
        make_policy=random_policy,
        parameters=parameters,
        num_rows=4,
        warmup_steps=1_000,  # which only the first generation makes
    )
    with pytest.raises(TimeoutError, match="no parameters were published"):
        made.run()
    parameters.push(7, {"x": np.float32(1)})
    blocks = [made.run() for _ in range(2)]
    assert [(b.actor, b.generation, b.number, b.version) for b in blocks] == [
        (2, 1, 0, 7),
        (2, 1, 1, 7),
    ]
    assert made.num_steps == sum(block.num_steps for block in blocks) == 8 + 6
    count = lambda c: c.cache.setdefault("calls", []).append(0) or len(c.cache["calls"])
    assert [made.apply(count) for _ in range(3)] == [1, 2, 3]

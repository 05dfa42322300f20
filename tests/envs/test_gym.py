import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from jax_agents import envs
from jax_agents.envs import SpecError, StepType, validate_environment


class Scripted(gymnasium.Env):
    """Step i answers `script[i]`: (terminated, truncated).

    Rewards are float64, and the observation is one array that is overwritten.
    """

    observation_space = spaces.Box(0, 100, (1,), np.float64)
    action_space = spaces.Discrete(2, start=3)

    def __init__(self, script=((False, False), (True, False))):
        self.script, self.closed, self.actions = script, 0, []
        self.buffer = np.zeros(1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.i = 0
        self.buffer[:] = 0
        return self.buffer, {}

    def step(self, action):
        self.actions.append(action)
        terminated, truncated = self.script[self.i]
        self.i += 1
        self.buffer[:] = self.i
        return self.buffer, self.i / 2, terminated, truncated, {}

    def close(self):
        self.closed += 1


@pytest.mark.parametrize(
    ("script", "discount"),
    [([(True, False)], 0), ([(False, True)], 1), ([(True, True)], 0)],
)
def test_termination_truncation_and_both(script, discount):
    for env in (
        envs.gym.make(lambda: Scripted(script)),
        envs.gym.make(lambda: Scripted(script), 2),
    ):
        env.reset()
        action = np.zeros(() if env.num_envs is None else 2, np.int32)
        for _ in range(2):
            last, first = env.step(action), env.step(action)
            assert (
                np.all(last.is_last())
                and np.all(last.discount == discount)
                and np.all(last.reward == 0.5)
            )
            assert np.all(last.observation == 1)
            assert (
                np.all(first.is_first())
                and np.all(first.discount == 1)
                and np.all(first.reward == 0)
            )
            assert np.all(first.observation == 0)


class LosesLives(Scripted):
    """Says a discount of 0 in its second step, and none elsewhere."""

    def step(self, action):
        *answer, _ = super().step(action)
        return *answer, {"discount": 0.0} if self.i == 2 else {}


def test_a_discount_in_the_info_is_taken():
    script = ((False, False),) * 3 + ((True, False),)
    single = envs.gym.make(lambda: LosesLives(script))
    made = iter([Scripted(((False, False),) * 9), LosesLives(script)])
    vector = envs.gym.make(lambda: next(made), 2)
    single.reset()
    vector.reset()
    steps = [(single.step(0), vector.step(np.zeros(2, np.int32))) for _ in range(5)]
    assert [int(one.step_type) for one, _ in steps] == [1, 1, 1, 2, 0]
    assert [float(one.discount) for one, _ in steps] == [1, 0, 1, 0, 1]
    np.testing.assert_array_equal(
        [many.discount for _, many in steps], [[1, 1], [1, 0], [1, 1], [1, 0], [1, 1]]
    )
    assert all(one.discount.dtype == many.discount.dtype == np.float32 for one, many in steps)


def test_the_action_of_a_reset_is_ignored_and_a_step_before_any_reset_resets():
    inner = Scripted()
    env = envs.gym.from_gym(inner)
    steps = [env.step(0), env.step(1), env.step(0), env.step(1), env.step(1)]
    assert [int(s.step_type) for s in steps] == [0, 1, 2, 0, 1]
    assert inner.actions == [4, 3, 4]  # counted from 3


def test_everything_is_cast_once_and_belongs_to_the_caller():
    env = envs.gym.from_gym(Scripted(((False, False),) * 5))
    one = env.reset()
    two = env.step(1)
    assert one.observation == 0 and two.observation == 1 and two.observation.dtype == np.float32
    assert two.reward.dtype == two.discount.dtype == np.float32 and two.step_type.dtype == np.int32
    validate_environment(envs.gym.from_gym(Scripted()), 20)


def test_an_array_that_the_environment_overwrites_is_copied_even_if_it_needs_no_cast():
    class Float32(Scripted):
        observation_space = spaces.Box(0, 100, (1,), np.float32)

        def __init__(self):
            super().__init__()
            self.buffer = np.zeros(1, np.float32)

    validate_environment(envs.gym.from_gym(Float32()), 20)


def test_vector_environments_end_one_by_one():
    lengths = iter([1, 2, 3])
    env = envs.gym.make(lambda: Scripted(((False, False),) * next(lengths) + ((True, False),)), 3)
    env.reset()
    steps = [env.step(np.zeros(3, np.int32)) for _ in range(6)]
    np.testing.assert_array_equal(
        [s.step_type for s in steps],
        [[1, 1, 1], [2, 1, 1], [0, 2, 1], [1, 0, 2], [2, 1, 0], [0, 1, 1]],
    )
    np.testing.assert_array_equal(
        [s.discount for s in steps], 1 - (np.array([s.step_type for s in steps]) == 2)
    )


def test_seeds_repeat_and_differ():
    single, vector = envs.gym.make("CartPole-v1"), envs.gym.make("CartPole-v1", 2)
    a, b = single.reset(seed=3).observation, single.reset().observation
    np.testing.assert_array_equal(a, single.reset(seed=3).observation)
    np.testing.assert_array_equal(b, single.reset().observation)
    batch = vector.reset(seed=3).observation
    np.testing.assert_array_equal(batch[0], a)
    np.testing.assert_array_equal(batch[1], single.reset(seed=4).observation)


def test_options_limits_and_wrappers():
    env = envs.gym.make(
        "CartPole-v1", max_episode_steps=2, env_options={"sutton_barto_reward": True}
    )
    env.reset(seed=0)
    steps = [env.step(0), env.step(1)]
    assert steps[1].is_last() and steps[1].discount == 1 and steps[1].reward == 0
    env = envs.gym.make(lambda: Scripted(((False, False),) * 9), max_episode_steps=1)
    env.reset()
    assert env.step(0).is_last()
    env = envs.gym.make(
        "CartPole-v1", wrappers=[lambda e: gymnasium.wrappers.FrameStackObservation(e, 4)]
    )
    assert env.specs.observation.shape == (4, 4)
    env = envs.gym.make("Pendulum-v1", max_episode_steps=-1)
    env.reset(seed=0)
    assert not any(env.step(np.zeros(1, np.float32)).is_last() for _ in range(250))


@pytest.mark.filterwarnings("ignore:.*without specifying any render mode")
def test_render_and_close():
    env = envs.gym.make("CartPole-v1")
    env.reset(seed=0)
    frame = env.render()
    assert frame.dtype == np.uint8 and frame.shape == (400, 600, 3)
    vector = envs.gym.make("CartPole-v1", 2)
    vector.reset(seed=0)
    assert vector.render().shape == (2, 400, 600, 3)
    blind = envs.gym.make("CartPole-v1", render_mode=None)
    blind.reset()
    with pytest.raises(RuntimeError, match="render_mode"):
        blind.render()
    inner = Scripted()
    ours = envs.gym.from_gym(inner)
    ours.close()
    ours.close()
    assert inner.closed == 1
    vector.close()
    vector.close()


def test_bad_arguments():
    with pytest.raises(ValueError, match="vectorization"):
        envs.gym.make("CartPole-v1", 2, vectorization="threads")
    with pytest.raises(ValueError, match="num_envs"):
        envs.gym.make("CartPole-v1", 0)
    with pytest.raises(ValueError, match="env_options"):
        envs.gym.make(Scripted, env_options={"a": 1})
    with pytest.raises(TypeError, match="gymnasium Env or VectorEnv, got int"):
        envs.gym.from_gym(3)
    same_step = gymnasium.vector.SyncVectorEnv(
        [Scripted], autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP
    )
    with pytest.raises(ValueError, match="NEXT_STEP"):
        envs.gym.from_gym(same_step)


def test_a_refused_action_loses_nothing():
    env = envs.gym.make("CartPole-v1")
    env.reset(seed=0)
    with pytest.raises(SpecError):
        env.step(2)
    assert env.step(1).step_type == StepType.MID


def test_native_vector_environments():
    env = envs.gym.from_gym(
        gymnasium.make_vec("CartPole-v1", 3, vectorization_mode="vector_entry_point")
    )
    validate_environment(env, 60)
    env.close()


def test_processes_give_what_one_process_gives():
    rng = np.random.default_rng(0)
    sync, processes = (
        envs.gym.make("CartPole-v1", 2),
        envs.gym.make("CartPole-v1", 2, vectorization="async"),
    )
    try:
        pairs = [(sync.reset(seed=1), processes.reset(seed=1))]
        for _ in range(40):
            action = rng.integers(0, 2, 2).astype(np.int32)
            pairs.append((sync.step(action), processes.step(action)))
        for one, two in pairs:
            for a, b in zip(one, two, strict=True):
                np.testing.assert_array_equal(a, b)
        assert any(one.is_last().any() for one, _ in pairs)
    finally:
        processes.close()


FUZZED = [
    *["CartPole-v1", "Pendulum-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0"],
    *["Blackjack-v1", "Taxi-v4", "FrozenLake-v1", "CliffWalking-v1"],
]


@pytest.mark.parametrize("env_id", FUZZED)
@pytest.mark.parametrize("num_envs", [None, 2])
def test_two_hundred_random_actions_keep_every_convention(env_id, num_envs):
    if env_id not in gymnasium.registry:
        pytest.skip(f"this gymnasium has no {env_id}")
    env = envs.gym.make(env_id, num_envs, max_episode_steps=50)
    validate_environment(env, 200)
    env.close()


def test_importing_does_not_import_gymnasium():
    code = "import sys, jax_agents.envs.gym; sys.exit('gymnasium' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


PROGRAM = """
import multiprocessing
import gymnasium, numpy as np
from jax_agents import envs

class Toy(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 10, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    def reset(self, *, seed=None, options=None):
        self.i = 0
        return np.zeros(1, np.float32), {}
    def step(self, action):
        self.i += 1
        if self.i == 2:
            raise RuntimeError("the toy broke")
        return np.full(1, self.i, np.float32), 1.0, False, False, {}

env = envs.gym.make(lambda: Toy(), 2, vectorization="async")
print(env.reset(0).observation.tolist(), env.step(np.zeros(2, np.int32)).observation.tolist())
try:
    env.step(np.zeros(2, np.int32))
except RuntimeError as error:
    print(error)
env.close()
print(multiprocessing.active_children())
"""


@pytest.mark.parametrize("program", [["-"], ["-c", PROGRAM]], ids=["stdin", "as in a notebook"])
def test_processes_of_an_environment_defined_in_a_main_module_without_a_file(program):
    """An error in a process comes with its traceback, and closing leaves no process."""
    result = subprocess.run(
        [sys.executable, *program],
        input=PROGRAM,
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert result.stdout.splitlines() == ["[[0.0], [0.0]] [[1.0], [1.0]]", "the toy broke", "[]"], (
        result.stderr
    )
    assert (
        "Received the following error from Worker-" in result.stderr and "in step" in result.stderr
    )

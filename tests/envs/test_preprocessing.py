import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from jax_agents import envs
from jax_agents.envs.preprocessing import get_preprocessor, preprocessor_of
from jax_agents.networks import default_encoder


def test_discrete_spaces_become_one_hot_codes():
    one = get_preprocessor(spaces.Discrete(4, start=2))
    np.testing.assert_array_equal(one.transform(3), [0, 1, 0, 0])
    assert one.shape == (4,) and one.kind == "one-hot" and one.spec.dtype == np.float32
    assert (
        repr(one) == "Preprocessor(one-hot: Discrete(4, start=2) -> Box(0.0, 1.0, (4,), float32))"
    )
    many = get_preprocessor(spaces.MultiDiscrete([2, 3]))
    np.testing.assert_array_equal(many.transform(np.array([1, 0])), [0, 1, 1, 0, 0])
    with pytest.raises(ValueError, match=r"expected a member of Discrete\(4, start=2\), got 7"):
        one.transform(7)


def test_tuples_and_dicts_become_one_vector():
    pair = get_preprocessor(spaces.Tuple([spaces.Discrete(3), spaces.Box(-1, 1, (2,), np.float64)]))
    np.testing.assert_array_equal(
        pair.transform((2, np.array([0.5, -0.5]))), np.float32([0, 0, 1, 0.5, -0.5])
    )
    nested = get_preprocessor(
        spaces.Dict(
            {
                "b": spaces.MultiBinary(2),
                "a": spaces.Dict(
                    {"x": spaces.Box(-np.inf, np.inf, (2, 1)), "n": spaces.Discrete(2)}
                ),
            }
        )
    )
    value = nested.transform(
        {"a": {"x": np.float32([[3], [4]]), "n": np.int64(1)}, "b": np.int8([1, 0])}
    )
    np.testing.assert_array_equal(value, [0, 1, 3, 4, 1, 0])  # keys in order
    assert (
        value.dtype == np.float32
        and nested.observation_space.contains(value)
        and nested.spec.shape == (6,)
    )
    with pytest.raises(ValueError, match="no fixed size"):
        get_preprocessor(spaces.Tuple([spaces.Sequence(spaces.Discrete(2))]))


def test_an_action_mask_stays_beside_the_rest():
    mask = spaces.MultiBinary(3)
    one = get_preprocessor(spaces.Dict({"observation": spaces.Discrete(2), "action_mask": mask}))
    out = one.transform({"observation": 1, "action_mask": np.int8([1, 0, 1])})
    np.testing.assert_array_equal(out["observation"], [0, 1])
    np.testing.assert_array_equal(out["action_mask"], [1, 0, 1])
    assert one.shape is None and one.spec["action_mask"].dtype == np.bool_
    two = get_preprocessor(
        spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Box(0, 1, (1,)), "action_mask": mask})
    )
    out = two.transform({"a": 0, "b": np.float32([0.5]), "action_mask": np.int8([1, 1, 1])})
    np.testing.assert_array_equal(out["observation"], [1, 0, 0.5])


def test_images_in_dicts_stay_images():
    camera = spaces.Box(0, 255, (64, 64, 3), np.uint8)
    for space in (
        spaces.Dict({"camera": camera, "n": spaces.Discrete(2)}),
        spaces.Tuple([spaces.Dict({"camera": camera})]),
    ):
        assert get_preprocessor(space).kind == "none"
    small = spaces.Box(0, 255, (8, 8, 3), np.uint8)
    assert get_preprocessor(spaces.Dict({"map": small, "n": spaces.Discrete(2)})).shape == (194,)
    masked = spaces.Dict({"camera": camera, "action_mask": spaces.MultiBinary(2)})
    assert get_preprocessor(masked).kind == "none"


@pytest.mark.parametrize("shape", [(3, 64, 64), (64, 64), (64, 64, 3)])
def test_images_in_dicts_stay_images_whatever_the_order_of_their_axes(shape):
    camera = spaces.Box(0, 255, shape, np.uint8)
    assert get_preprocessor(spaces.Dict({"camera": camera, "x": spaces.Box(-1, 1)})).kind == "none"


def test_bytes_in_dicts_are_scaled_by_their_bounds():
    space = spaces.Dict(
        {
            "board": spaces.Box(0, 2, (3,), np.uint8),
            "pixels": spaces.Box(0, 255, (2, 1), np.uint8),
            "speed": spaces.Box(-9, 9, (1,), np.float32),
            "gear": spaces.Discrete(2),
        }
    )
    preprocessor = get_preprocessor(space)
    observation = {
        "board": np.array([0, 1, 2], np.uint8),
        "pixels": np.array([[51], [255]], np.uint8),
        "speed": np.array([5.0], np.float32),
        "gear": 1,
    }
    wanted = np.float32([0, 0.5, 1, 0, 1, 0.2, 1, 5])
    np.testing.assert_allclose(preprocessor.transform(observation), wanted, rtol=1e-6)
    assert preprocessor.observation_space.contains(preprocessor.transform(observation))
    assert preprocessor.observation_space.high.tolist() == [1, 1, 1, 1, 1, 1, 1, 9]


def test_from_gymnasiums_values_and_from_ours():
    space = spaces.Dict(
        {
            "n": spaces.Discrete(3, start=5),
            "pair": spaces.Tuple([spaces.Box(-1, 1, (1,)), spaces.Discrete(2)]),
        }
    )
    preprocessor = get_preprocessor(space)
    wanted = np.float32([0, 1, 0, 0.5, 0, 1])
    np.testing.assert_array_equal(
        preprocessor.convert({"n": 6, "pair": (np.float64([0.5]), 1)}), wanted
    )
    ours = {"n": np.int32(1), "pair": (np.float32([0.5]), np.int32(1))}  # counted from 0
    envs.validate({"observation": ours}, {"observation": preprocessor.raw_spec}, values=True)
    np.testing.assert_array_equal(preprocessor.from_raw(ours), wanted)
    many = get_preprocessor(spaces.MultiDiscrete([2, 3], start=[1, 2]))
    np.testing.assert_array_equal(many.from_raw(np.int32([1, 0])), [0, 1, 1, 0, 0])
    for wrong in ({"n": 6}, {"n": 9, "pair": (np.zeros(1), 0)}, 3):
        with pytest.raises(envs.SpecError, match="observation: expected a member of Dict"):
            preprocessor.convert(wrong)


@pytest.mark.parametrize("num_envs", [None, 2])
def test_an_environment_tells_its_preprocessor(num_envs):
    env = envs.gym.make("FrozenLake-v1", num_envs, preprocess=True)
    assert preprocessor_of(env).kind == "one-hot"
    for other in (
        envs.gym.make("CartPole-v1", num_envs, preprocess=True),
        envs.gym.make("FrozenLake-v1", num_envs),
    ):
        assert preprocessor_of(other) is None
    assert preprocessor_of(envs.classic.CartPole()) is None


def test_what_is_no_atari_image_passes():
    for space in (
        spaces.Box(-1, 1, (3,)),
        spaces.Box(0, 255, (84, 84, 4), np.uint8),
        spaces.Box(0, 255, (210, 160), np.uint8),
    ):
        preprocessor = get_preprocessor(space)
        value = space.sample()
        assert (
            preprocessor.transform(value) is value
            and preprocessor.shape == space.shape
            and preprocessor.kind == "none"
        )


@pytest.mark.parametrize("height", [210, 250])
def test_atari_images_become_84_by_84(height):
    cv2 = pytest.importorskip("cv2", reason='needs pip install "jax-agents[atari]"')
    preprocessor = get_preprocessor(spaces.Box(0, 255, (height, 160, 3), np.uint8))
    image = np.random.default_rng(0).integers(0, 256, (height, 160, 3), np.uint8)
    image[: height // 2] = 255  # the upper half stays white
    small = preprocessor.transform(image)
    assert small.shape == (84, 84, 3) == preprocessor.shape and small.dtype == np.uint8
    assert (small[:42] == 255).all() and (small[43:] < 255).any()
    np.testing.assert_array_equal(small, cv2.resize(image, (84, 84), interpolation=cv2.INTER_AREA))


class Rooms(gymnasium.Env):
    """Discrete observations: the number of the step."""

    observation_space = spaces.Discrete(3)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.room = 0
        return 0, {}

    def step(self, action):
        self.room += 1
        return self.room, 1.0, self.room == 2, False, {}


def test_environments_preprocess_and_networks_then_have_nothing_to_encode():
    env, plain = envs.gym.make(Rooms, 2, preprocess=True), envs.gym.make(Rooms)
    assert env.specs.observation.shape == (3,) and default_encoder(env.specs.observation) is None
    assert default_encoder(plain.specs.observation) is not None  # the network makes the code
    np.testing.assert_array_equal(env.reset().observation, [[1, 0, 0]] * 2)
    preprocessor = get_preprocessor(Rooms.observation_space)
    for room in (1, 2, 0):
        np.testing.assert_array_equal(
            env.step(np.zeros(2, np.int32)).observation, [preprocessor.transform(room)] * 2
        )
    envs.validate_environment(env, 20)
    assert envs.gym.make("CartPole-v1", preprocess=True).specs.observation.shape == (4,)


def test_without_opencv_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    preprocessor = get_preprocessor(spaces.Box(0, 255, (210, 160, 3), np.uint8))
    with pytest.raises(ImportError, match=r'pip install "jax-agents\[atari\]"'):
        preprocessor.transform(np.zeros((210, 160, 3), np.uint8))

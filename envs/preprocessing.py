"""Preprocessors turn gymnasium's observations into one vector or one small image.

The encoders of `networks.default_encoder` do the same inside the network, from smaller rows. A
preprocessor is for agents and clients that expect one vector or one small image: then
`envs.gym.make(..., preprocess=True)` is the one place where it acts, in training, evaluation and
serving alike, and networks see that there is nothing left to encode.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .environment import Environment
from .gym_spaces import observations
from .specs import SpecError
from .types import ACTION_MASK, Tree

if TYPE_CHECKING:
    import gymnasium

IMAGE_SIZE = 84
_MIN_SIDE = 36
_ATARI_SHAPES = ((210, 160, 3), (250, 160, 3))


@dataclasses.dataclass(frozen=True, eq=False)
class Preprocessor:
    """The preprocessor of a gymnasium observation space; `get_preprocessor` makes it.

    Attributes:
      kind: Kind of the preprocessing: "one-hot", "flatten", "resize" or "none".
      space: Space of the observations that come in.
      observation_space: Space of the observations that go out.
    """

    kind: str
    space: Any
    observation_space: Any
    _function: Callable[[Any], Any]

    def transform(self, observation: Any) -> Any:
        """Returns the observation of one environment, preprocessed, in gymnasium's dtypes.

        Raises:
          ValueError: if it is not in the space.
        """
        if not self.space.contains(observation):
            raise ValueError(f"observation: expected a member of {self.space}, got {observation!r}")
        return self._function(observation)

    def convert(self, observation: Any) -> Tree:
        """Returns the observation of one environment, preprocessed, in the dtypes of `spec`.

        Raises:
          SpecError: if it is not in the space. Bounds are not checked, since environments may
            exceed theirs a little.
        """
        try:
            return observations(self.observation_space, None).convert(self._function(observation))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise SpecError(
                f"observation: expected a member of {self.space}, got {observation!r}"
            ) from error

    @property
    def raw_spec(self) -> Tree:
        """The spec of the observations without this preprocessor; discrete values count from 0."""
        return observations(self.space, None).spec

    def from_raw(self, observation: Tree) -> Tree:
        """Returns an observation that meets `raw_spec`, preprocessed, as `convert` does."""
        return self.convert(_started(self.space, observation))

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The shape of the result; None for a dict of an observation and its action mask."""
        return self.observation_space.shape

    @property
    def spec(self) -> Tree:
        """The spec of the observations of an environment with this preprocessor."""
        return observations(self.observation_space, None).spec

    def __repr__(self) -> str:
        return f"Preprocessor({self.kind}: {self.space} -> {self.observation_space})"


def get_preprocessor(space: Any) -> Preprocessor:
    """Returns the preprocessor of a gymnasium observation space.

    `Discrete` and `MultiDiscrete` become one-hot codes, `Tuple` and `Dict` one vector (their
    discrete leaves as one-hot codes, uint8 scaled from its bounds to 0..1, all leaves in
    gymnasium's order), both float32 `[size]`. An Atari image uint8 `[210, 160, 3]` (or 250 high)
    becomes uint8 `[84, 84, 3]`. Everything else passes unchanged, also tuples and dicts with images
    in them (`image_axes`), since a vector would not keep these as images. The mask of a dict with
    an `"action_mask"` stays as it is, apart from the rest.

    Example:
      >>> from gymnasium import spaces
      >>> preprocessor = get_preprocessor(spaces.Discrete(3))
      >>> preprocessor
      Preprocessor(one-hot: Discrete(3) -> Box(0.0, 1.0, (3,), float32))
      >>> preprocessor.transform(1)
      array([0., 1., 0.], dtype=float32)

    Raises:
      ValueError: if a `Tuple` or `Dict` has leaves of no fixed size (`Sequence`, `Graph`).
    """
    from gymnasium import spaces

    if isinstance(space, spaces.Dict) and ACTION_MASK in space.spaces:
        return _masked(space)
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return _flat("one-hot", space)
    if isinstance(space, spaces.Tuple | spaces.Dict) and not _has_image(space):
        return _flat("flatten", space)
    if isinstance(space, spaces.Box) and space.dtype == np.uint8 and space.shape in _ATARI_SHAPES:
        small = spaces.Box(0, 255, (IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        return Preprocessor("resize", space, small, _resize)
    return _none(space)


def image_axes(shape: tuple[int, ...] | None, dtype: Any) -> str | None:
    """Returns the order of an image's axes, or None for an array that is no image.

    An image has at least 36 pixels on each side, which are enough for the usual kernels:

    - "HWC", height, width and channels, with any dtype;
    - "CHW", fewer than 36 channels or stacked frames first, with any dtype;
    - "HW", grey, if it is uint8.

    Args:
      shape: Shape of the array; None for one of no fixed shape.
      dtype: Its dtype.
    """
    if shape is None or len(shape) not in (2, 3) or min(shape) < 1:
        return None
    if len(shape) == 2:
        return "HW" if min(shape) >= _MIN_SIDE and dtype == np.uint8 else None
    if min(shape[:2]) >= _MIN_SIDE:
        return "HWC"
    return "CHW" if shape[0] < _MIN_SIDE <= min(shape[1:]) else None


def preprocess_observation(env: "gymnasium.Env") -> "gymnasium.Env":
    """Wraps a gymnasium environment so that its observations are preprocessed.

    Args:
      env: Environment of gymnasium.

    Raises:
      ValueError: if its observations have leaves of no fixed size.
      ImportError: if images have to be resized and OpenCV is missing.
    """
    import gymnasium

    preprocessor = get_preprocessor(env.observation_space)
    if preprocessor.kind == "none":
        return env
    if preprocessor.kind == "resize":
        _cv2()
    # Not `transform`: an environment's observations are checked where it is validated, and not in
    # each step.
    wrapped: Any = gymnasium.wrappers.TransformObservation(
        env, preprocessor._function, preprocessor.observation_space
    )
    wrapped.preprocessor = preprocessor
    return wrapped


def preprocessor_of(env: Environment) -> Preprocessor | None:
    """Returns the preprocessor of an environment of `envs.gym.make(..., preprocess=True)`.

    None stands for an environment whose observations are not preprocessed.
    """
    inner = getattr(env, "env", None)
    return getattr(getattr(inner, "envs", [inner])[0], "preprocessor", None)


def _has_image(space: Any) -> bool:
    parts = space.spaces.values() if hasattr(space.spaces, "values") else space.spaces
    return any(
        _has_image(part)
        if hasattr(part, "spaces")
        else image_axes(part.shape, part.dtype) is not None
        for part in parts
    )


def _started(space: Any, observation: Tree) -> Any:
    """Returns an observation whose discrete values count from 0 as a member of the space.

    In the space, they count from its `start`.
    """
    from gymnasium import spaces

    if isinstance(space, spaces.Dict):
        return {key: _started(part, observation[key]) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(map(_started, space.spaces, observation))
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return observation + space.start
    return observation


def _none(space: Any) -> Preprocessor:
    return Preprocessor("none", space, space, lambda observation: observation)


def _flat(kind: str, space: Any) -> Preprocessor:
    from gymnasium import spaces

    if not space.is_np_flattenable:
        raise ValueError(
            f"observation: {space} has leaves of no fixed size, which do not fit into a vector; "
            "pad them in a wrapper"
        )
    flat: Any = spaces.flatten_space(space)
    flatten: Any = spaces.flatten
    low, width = _byte_ranges(space)
    scale = lambda vector: (vector.astype(np.float32) - low) / width
    with np.errstate(over="ignore"):  # a bound beyond float32 is no bound
        vector = spaces.Box(scale(flat.low), scale(flat.high), dtype=np.float32)
    return Preprocessor(kind, space, vector, lambda observation: scale(flatten(space, observation)))


def _byte_ranges(space: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns the lower bounds and the widths, float32 `[size]`, that scale bytes to 0..1.

    They are 0 and 1 for every other number of the flattened space.
    """
    from gymnasium import spaces

    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces
        pairs = [_byte_ranges(part) for part in parts]
        lows, widths = zip(*pairs, strict=True) if pairs else ((), ())
        empty = np.zeros(0, np.float32)
        return np.concatenate([empty, *lows]), np.concatenate([empty, *widths])
    if isinstance(space, spaces.Box) and space.dtype == np.uint8:
        low = space.low.astype(np.float32).ravel()
        return low, np.maximum(space.high.astype(np.float32).ravel() - low, 1.0)
    size = spaces.flatdim(space)
    return np.zeros(size, np.float32), np.ones(size, np.float32)


def _masked(space: Any) -> Preprocessor:
    from gymnasium import spaces

    rest = {name: part for name, part in space.spaces.items() if name != ACTION_MASK}
    inner = get_preprocessor(
        rest["observation"] if set(rest) == {"observation"} else spaces.Dict(rest)
    )
    if inner.kind == "none":
        return _none(space)

    def transform(observation: Any) -> Any:
        seen = {name: observation[name] for name in rest}
        seen = seen["observation"] if inner.space is rest.get("observation") else seen
        return {"observation": inner._function(seen), ACTION_MASK: observation[ACTION_MASK]}

    out = spaces.Dict({"observation": inner.observation_space, ACTION_MASK: space[ACTION_MASK]})
    return Preprocessor(inner.kind, space, out, transform)


def _resize(image: np.ndarray) -> np.ndarray:
    cv2 = _cv2()
    # The interpolation is that of gymnasium's AtariPreprocessing.
    return cv2.resize(image, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_AREA)


def _cv2() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            'resizing images needs OpenCV: pip install "jax-agents[atari]"'
        ) from error
    return cv2

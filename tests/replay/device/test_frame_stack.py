"""Frames that are stored once on device."""

import jax
import numpy as np

from jax_agents.envs.specs import (
    ArraySpec,
    BoundedSpec,
    DiscreteSpec,
    EnvironmentSpecs,
    trajectory_spec,
)
from jax_agents.envs.types import StepType, Trajectory
from jax_agents.replay import DeviceReplay, FrameStackDeviceReplay

SIDE, STACK, T = 6, 4, 3
OBSERVATION = {
    "camera": BoundedSpec((SIDE, SIDE, STACK), np.uint8, 0, 255),
    "speed": ArraySpec((2,), np.float32),
}
SPEC = trajectory_spec(EnvironmentSpecs(OBSERVATION, DiscreteSpec(1_000_000)))


def stream_rows(lengths, stream=0, start=0):
    """Rows of episodes of these lengths, with their boundary rows; actions count from `start`."""
    rng = np.random.default_rng([stream, start])
    rows, stack = [], np.zeros((SIDE, SIDE, STACK), np.uint8)
    for length in lengths:
        types = [StepType.FIRST, *[StepType.MID] * (length - 1), StepType.LAST, StepType.FIRST]
        for i in range(length + 1):
            frame = rng.integers(0, 256, (SIDE, SIDE, 1), np.uint8)
            stack = np.concatenate([frame] * STACK if i == 0 else [stack[..., 1:], frame], axis=-1)
            number = start + len(rows)
            rows.append(
                Trajectory(
                    step_type=np.int32(types[i]),
                    observation={"camera": stack, "speed": np.array([number, stream], np.float32)},
                    action=np.int32(number),
                    policy_info=(),
                    next_step_type=np.int32(types[i + 1]),
                    reward=np.float32(number / 8),
                    discount=np.float32(i != length - 1),
                )
            )
    return rows


def together(rows):
    return jax.tree.map(lambda *x: np.stack(x), *rows)


def test_on_device_as_in_the_plain_device_buffer():
    """Three environments, short episodes, a ring that wraps around; uniform draws with the same key
    pick the same windows.
    """
    num_envs, length = 3, 12
    frames = FrameStackDeviceReplay(
        SPEC, num_envs * (length + STACK - 1), sequence_length=T, num_envs=num_envs
    )
    plain = DeviceReplay(SPEC, num_envs * length, sequence_length=T, num_envs=num_envs)
    streams = [stream_rows(n, i)[:30] for i, n in enumerate(([4, 1, 9, 20, 6], [2] * 15, [41, 3]))]
    rows = together([together(stream) for stream in streams])
    a, b = frames.init(), plain.init()
    add_a, add_b = jax.jit(frames.add), jax.jit(plain.add)
    draw_a, draw_b = (jax.jit(r.sample, static_argnums=2) for r in (frames, plain))
    for t in range(0, 30, 2):
        part = jax.tree.map(lambda x, t=t: x[:, t : t + 2], rows)
        a, b = add_a(a, part), add_b(b, part)
        if t >= 2:
            one, two = (d(s, jax.random.key(t), 32) for d, s in ((draw_a, a), (draw_b, b)))
            jax.tree.map(np.testing.assert_array_equal, one.experience, two.experience)
    assert int(frames.num_items(a)) == int(plain.num_items(b)) == num_envs * (length - T + 1)
    assert bool(frames.can_sample(a, 30)) and not bool(frames.can_sample(a, 31))
    prioritised = FrameStackDeviceReplay(
        SPEC, 90, sequence_length=T, num_envs=num_envs, priority_exponent=1.0
    )
    state = prioritised.add(prioritised.init(), jax.tree.map(lambda x: x[:, :5], rows))
    sample = prioritised.sample(state, jax.random.key(0), 16)
    chosen = int(sample.info.key[3])
    state = prioritised.update_priorities(
        state, np.arange(90), (np.arange(90) == chosen).astype(np.float32)
    )
    again = prioritised.sample(state, jax.random.key(1), 16)
    assert (again.info.key == chosen).all()
    np.testing.assert_array_equal(
        again.experience.observation["camera"][5], sample.experience.observation["camera"][3]
    )
    assert int(prioritised.num_rows(state)) == num_envs * (5 + STACK - 1)

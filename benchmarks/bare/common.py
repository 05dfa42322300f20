"""The shared parts of the direct loops: dense layers, CartPole, and runs of a scan.

The files of this folder write the library's hot loops directly in JAX and NumPy, for `smoke.py` to
compare with. There is no class, no check and no option: what remains is the work that any
implementation has to do. Each loop is made by a function that returns `run(n)`, which does at least
n iterations and returns the number of those done.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Run = Callable[[int], int]
Params = list[tuple[jax.Array, jax.Array]]

CHUNK = 250  # iterations of a scan in one call


def init_dense(key: jax.Array, sizes: tuple[int, ...]) -> Params:
    """Weights and biases of dense layers."""
    keys = jax.random.split(key, len(sizes) - 1)
    shapes = zip(keys, sizes[:-1], sizes[1:], strict=True)
    return [(jax.random.normal(k, (m, n)) * (2 / m) ** 0.5, jnp.zeros(n)) for k, m, n in shapes]


def dense(params: Params, inputs: jax.Array, activation: Callable = jax.nn.relu) -> jax.Array:
    """Dense layers, with the activation after all but the last."""
    for kernel, bias in params[:-1]:
        inputs = activation(inputs @ kernel + bias)
    kernel, bias = params[-1]
    return inputs @ kernel + bias


def scanned(step: Callable, state: Any, length: int = CHUNK) -> Run:
    """Runs `lax.scan` of `step` from the state, `length` iterations in a call that donates it."""
    call = jax.jit(lambda state: jax.lax.scan(step, state, None, length), donate_argnums=0)

    def run(n: int) -> int:
        nonlocal state
        calls = -(-n // length)
        for _ in range(calls):
            state, outputs = call(state)
        jax.block_until_ready((state, outputs))
        return calls * length

    return run


# -- CartPole, which resets itself in the step after an episode's last one


def reset_cartpole(key: jax.Array) -> jax.Array:
    """The physics `[4]` at the start of an episode."""
    return jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05)


def step_cartpole(env: tuple, action: jax.Array) -> tuple[tuple, tuple]:
    """One step of an environment (physics, key, steps, ended): reward, discount and boundary."""
    physics, key, steps, ended = env
    next_key, reset_key = jax.random.split(key)
    _, speed, angle, spin = physics
    cos = jnp.cos(angle)
    sin = jnp.sin(angle)
    push = (jnp.where(action == 1, 10.0, -10.0) + 0.05 * spin**2 * sin) / 1.1
    spin_rate = (9.8 * sin - cos * push) / (0.5 * (4 / 3 - 0.1 * cos**2 / 1.1))
    speed_rate = push - 0.05 * spin_rate * cos / 1.1
    moved = physics + 0.02 * jnp.stack([speed, speed_rate, spin, spin_rate])
    fell = (jnp.abs(moved[0]) > 2.4) | (jnp.abs(moved[2]) > 12 * 2 * np.pi / 360)
    last = fell | (steps + 1 >= 500)
    physics = jnp.where(ended, reset_cartpole(reset_key), moved)
    following = (
        physics,
        jnp.where(ended, jax.random.key_data(next_key), jax.random.key_data(key)),
        jnp.where(ended, 0, steps + 1),
        last & ~ended,
    )
    following = (following[0], jax.random.wrap_key_data(following[1]), *following[2:])
    reward = jnp.where(ended, 0.0, 1.0)
    discount = jnp.where(fell & ~ended, 0.0, 1.0)
    return following, (reward, discount, ended)


def start_cartpole(key: jax.Array) -> tuple:
    """An environment at the start of an episode."""
    return reset_cartpole(key), key, jnp.int32(0), jnp.bool_(False)

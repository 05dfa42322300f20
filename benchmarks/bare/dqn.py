"""DQN on CartPole, directly: in a Python loop over gymnasium, and in one scan."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import optax

from .common import Run, dense, init_dense, scanned, start_cartpole, step_cartpole

CAPACITY = 65_536
BATCH = 64


def dqn_update(optimizer: optax.GradientTransformation, state: tuple, batch: tuple) -> tuple:
    """One update of (params, target, opt_state, step) on a batch; also the losses `[B]`."""
    params, target, opt_state, step = state
    observation, action, reward, discount, following, mask = batch

    def loss(params):
        q = jnp.take_along_axis(dense(params, observation), action[:, None], 1)[:, 0]
        best = dense(target, following).max(-1)
        error = reward + 0.99 * discount * best - q
        losses = mask * optax.huber_loss(error)
        return losses.mean(), error

    (value, error), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    updates, opt_state = optimizer.update(gradient, opt_state)
    params = optax.apply_updates(params, updates)
    step += 1
    target = jax.tree.map(lambda t, p: jnp.where(step % 200 == 0, p, t), target, params)
    return (params, target, opt_state, step), (value, error)


def init_dqn(optimizer: optax.GradientTransformation) -> tuple:
    """A fresh state of `dqn_update` for CartPole."""
    params = init_dense(jax.random.key(0), (4, 100, 50, 2))
    target = jax.tree.map(jnp.copy, params)
    return params, target, optimizer.init(params), jnp.int32(0)


def off_policy_loop() -> Run:
    """DQN over gymnasium's CartPole with a ring of rows in NumPy; one row, one update."""
    env = gymnasium.make("CartPole-v1", disable_env_checker=True)
    optimizer = optax.adam(1e-3)
    ring = (
        np.zeros((CAPACITY, 4), np.float32),
        np.zeros(CAPACITY, np.int32),
        np.zeros(CAPACITY, np.float32),
        np.zeros(CAPACITY, np.float32),
        np.zeros(CAPACITY, np.float32),
    )
    rng = np.random.default_rng(0)
    key = jax.random.key(0)

    @jax.jit
    def learn_and_act(state, windows, observation, row):
        observations, actions, rewards, discounts, masks = windows
        batch = (
            observations[:, 0],
            actions[:, 0],
            rewards[:, 0],
            discounts[:, 0],
            observations[:, 1],
            masks[:, 0],
        )
        state, (loss, _) = dqn_update(optimizer, state, batch)
        chance, coin = jax.random.uniform(jax.random.fold_in(key, row), (2,))
        greedy = dense(state[0], observation).argmax()
        return state, jnp.where(chance < 0.1, coin < 0.5, greedy), loss

    state = init_dqn(optimizer)
    observation, _ = env.reset(seed=0)
    ended = False
    action = 0
    rows = 0

    def run(n: int) -> int:
        nonlocal state, observation, ended, action, rows
        for _ in range(n):
            if ended:
                following, _ = env.reset()
                reward = 0.0
                discount = 1.0
                mask = 0.0
                ended = False
            else:
                following, reward, terminated, truncated, _ = env.step(int(action))
                discount = 1.0 - terminated
                mask = 1.0
                ended = terminated or truncated
            values = (observation, int(action), reward, discount, mask)
            for column, value in zip(ring, values, strict=True):
                column[rows % CAPACITY] = value
            observation = following
            rows += 1
            first = rng.integers(0, max(min(rows, CAPACITY) - 1, 1), BATCH)
            window = first[:, None] + np.arange(2)
            windows = tuple(column[window] for column in ring)
            state, action, _ = learn_and_act(state, windows, observation, rows)
        jax.block_until_ready(state)
        return n

    return run


def off_policy_scan() -> Run:
    """DQN over CartPole in one scan, with a ring of rows in JAX; one row, one update."""
    optimizer = optax.adam(1e-3)

    def step(carry, _):
        state, env, ring, rows, key = carry
        key, choose_key, random_key, draw_key = jax.random.split(key, 4)
        observation = env[0]
        greedy = dense(state[0], observation).argmax()
        random = jax.random.randint(random_key, (), 0, 2)
        action = jnp.where(jax.random.uniform(choose_key) < 0.1, random, greedy)
        env, (reward, discount, boundary) = step_cartpole(env, action)
        row = jnp.concatenate(
            [observation, jnp.stack([action.astype(jnp.float32), reward, discount, 1.0 - boundary])]
        )
        ring = jax.lax.dynamic_update_index_in_dim(ring, row, rows % CAPACITY, 0)
        rows += 1
        first = jax.random.randint(draw_key, (BATCH,), 0, jnp.clip(rows - 1, 1, CAPACITY - 1))
        now = ring[first]
        following = ring[first + 1]
        batch = (
            now[:, :4],
            now[:, 4].astype(jnp.int32),
            now[:, 5],
            now[:, 6],
            following[:, :4],
            now[:, 7],
        )
        state, (loss, _) = dqn_update(optimizer, state, batch)
        return (state, env, ring, rows, key), (loss, reward)

    start = (
        init_dqn(optimizer),
        start_cartpole(jax.random.key(1)),
        jnp.zeros((CAPACITY, 8)),
        jnp.int32(0),
        jax.random.key(2),
    )
    return scanned(step, start)

"""PPO on CartPole, directly: in a Python loop over gymnasium, and in one scan."""

from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import optax

from .common import Run, dense, init_dense, scanned, start_cartpole, step_cartpole

NUM_ENVS = 8
NUM_ROWS = 128


def init_ppo(optimizer: optax.GradientTransformation) -> tuple:
    """A fresh state of `ppo_learn` for CartPole."""
    keys = jax.random.split(jax.random.key(0))
    params = (init_dense(keys[0], (4, 64, 64, 2)), init_dense(keys[1], (4, 64, 64, 1)))
    return params, optimizer.init(params)


def ppo_act(params: tuple, observation: jax.Array, key: jax.Array) -> tuple:
    """Actions drawn `[n]`, and their log-probabilities `[n]`."""
    log_probs = jax.nn.log_softmax(dense(params[0], observation, jnp.tanh))
    action = jax.random.categorical(key, log_probs)
    return action, jnp.take_along_axis(log_probs, action[:, None], 1)[:, 0]


def ppo_learn(
    optimizer: optax.GradientTransformation, state: tuple, rows: tuple, last: Any, key: jax.Array
) -> tuple:
    """Four epochs of four minibatches on rows `[T, n]`, of which `last` `[n, 4]` is the end."""
    observation, action, log_prob, reward, discount, boundary = rows
    params, opt_state = state
    value = dense(params[1], jnp.concatenate([observation, last[None]]), jnp.tanh)[..., 0]

    def backwards(advantage, x):
        reward, discount, boundary, now, following = x
        error = reward + 0.99 * discount * following - now
        advantage = jnp.where(boundary, 0.0, error + 0.99 * 0.95 * discount * advantage)
        return advantage, advantage

    xs = (reward, discount, boundary, value[:-1], value[1:])
    _, advantage = jax.lax.scan(backwards, jnp.zeros(NUM_ENVS), xs, reverse=True)
    batch = (observation, action, log_prob, advantage, advantage + value[:-1], 1.0 - boundary)
    batch = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)

    def loss(params, batch):
        observation, action, old_log_prob, advantage, target, weight = batch
        mean = lambda x: (x * weight).sum() / weight.shape[0]
        log_probs = jax.nn.log_softmax(dense(params[0], observation, jnp.tanh))
        log_prob = jnp.take_along_axis(log_probs, action[:, None], 1)[:, 0]
        centred = advantage - mean(advantage)
        advantage = centred / (jnp.sqrt(mean(centred**2)) + 1e-8)
        ratio = jnp.exp(log_prob - old_log_prob)
        clipped = jnp.clip(ratio, 0.8, 1.2)
        surrogate = -mean(jnp.minimum(ratio * advantage, clipped * advantage))
        error = mean((dense(params[1], observation, jnp.tanh)[:, 0] - target) ** 2)
        entropy = -mean((jnp.exp(log_probs) * log_probs).sum(-1))
        return surrogate + 0.25 * error - 0.01 * entropy

    def minibatch(state, part):
        params, opt_state = state
        value, gradient = jax.value_and_grad(loss)(params, part)
        updates, opt_state = optimizer.update(gradient, opt_state)
        return (optax.apply_updates(params, updates), opt_state), value

    def epoch(state, key):
        order = jax.random.permutation(key, NUM_ENVS * NUM_ROWS)
        parts = jax.tree.map(lambda x: x[order].reshape(4, -1, *x.shape[1:]), batch)
        return jax.lax.scan(minibatch, state, parts)

    state, values = jax.lax.scan(epoch, (params, opt_state), jax.random.split(key, 4))
    return state, values.mean()


def ppo_optimizer() -> optax.GradientTransformation:
    """The optimizer of both sides."""
    return optax.chain(optax.clip_by_global_norm(0.5), optax.adam(2.5e-4, eps=1e-5))


def on_policy_scan(calls: int) -> Run:
    """PPO over eight CartPoles in one scan; an iteration is 1,024 rows and 16 updates.

    Args:
      calls: Number of iterations in one call.
    """
    optimizer = ppo_optimizer()

    def step(carry, _):
        state, env, key = carry
        key, act_key, learn_key = jax.random.split(key, 3)

        def act(env, key):
            observation = env[0]
            action, log_prob = ppo_act(state[0], observation, key)
            env, (reward, discount, boundary) = jax.vmap(step_cartpole)(env, action)
            return env, (observation, action, log_prob, reward, discount, boundary)

        env, rows = jax.lax.scan(act, env, jax.random.split(act_key, NUM_ROWS))
        state, loss = ppo_learn(optimizer, state, rows, env[0], learn_key)
        return (state, env, key), (loss, rows[3].sum())

    env = jax.vmap(start_cartpole)(jax.random.split(jax.random.key(1), NUM_ENVS))
    carry = (init_ppo(optimizer), env, jax.random.key(2))
    return scanned(step, carry, calls)


def on_policy_loop() -> Run:
    """PPO over eight of gymnasium's CartPoles, stepped one after the other in this process."""
    make = lambda: gymnasium.make("CartPole-v1", disable_env_checker=True)
    env = gymnasium.vector.SyncVectorEnv([make] * NUM_ENVS)
    optimizer = ppo_optimizer()
    key = jax.random.key(0)
    act = jax.jit(lambda params, obs, row: ppo_act(params, obs, jax.random.fold_in(key, row)))
    learn = jax.jit(lambda state, rows, last, key: ppo_learn(optimizer, state, rows, last, key))
    state = init_ppo(optimizer)
    observation, _ = env.reset(seed=0)
    ended = np.zeros(NUM_ENVS, bool)
    count = 0

    def run(n: int) -> int:
        nonlocal state, observation, ended, count
        for _ in range(n):
            rows = []
            for _ in range(NUM_ROWS):
                action, log_prob = map(np.asarray, act(state[0], observation, count))
                following, reward, terminated, truncated, _ = env.step(action)
                discount = 1.0 - terminated
                row = (observation.copy(), action, log_prob, reward, discount, ended)
                rows.append(row)
                observation = following
                ended = terminated | truncated
                count += 1
            segment = tuple(np.stack(column) for column in zip(*rows, strict=True))
            segment = tuple(x.astype(np.float32) if x.dtype == np.float64 else x for x in segment)
            state, _ = learn(state, segment, observation, jax.random.fold_in(key, count))
        jax.block_until_ready(state)
        return n

    return run

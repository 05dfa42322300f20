"""The update of SAC on one batch, directly."""

import math

import jax
import jax.numpy as jnp
import optax

from .common import Run, dense, init_dense

OBSERVATION = 3
BATCH = 256
HIDDEN = (64, 64)


def update() -> Run:
    """Two critics, a squashed normal and a temperature, all updated together."""
    optimizer = optax.adam(3e-4)
    keys = jax.random.split(jax.random.key(0), 8)
    critics = [init_dense(key, (OBSERVATION + 1, *HIDDEN, 1)) for key in keys[:2]]
    critic = jax.tree.map(lambda *x: jnp.stack(x), *critics)
    params = {
        "actor": init_dense(keys[2], (OBSERVATION, *HIDDEN, 2)),
        "critic": critic,
        "alpha": jnp.zeros(()),
    }
    state = (params, jax.tree.map(jnp.copy, critic), optimizer.init(params), keys[3])
    batch = (
        jax.random.normal(keys[4], (BATCH, OBSERVATION)),
        jax.random.uniform(keys[5], (BATCH, 1), minval=-2.0, maxval=2.0),
        jax.random.normal(keys[6], (BATCH,)),
        jnp.ones(BATCH),
        jax.random.normal(keys[7], (BATCH, OBSERVATION)),
    )

    def act(actor, observation, key):
        loc, log_std = jnp.split(dense(actor, observation), 2, -1)
        scale = jnp.exp(jnp.clip(log_std, -20, 2))
        noise = jax.random.normal(key, loc.shape)
        unsquashed = loc + scale * noise
        slope = 2 * (math.log(2) - unsquashed - jax.nn.softplus(-2 * unsquashed)) + math.log(2)
        log_density = -0.5 * noise**2 - jnp.log(scale) - 0.5 * math.log(2 * math.pi)
        return 2 * jnp.tanh(unsquashed), (log_density - slope).sum(-1)

    def values(critic, observation, action):
        joined = jnp.concatenate([observation, action], -1)
        return jax.vmap(lambda member: dense(member, joined)[:, 0])(critic)

    def loss(params, target, batch, key):
        observation, action, reward, discount, following = batch
        held = jax.lax.stop_gradient(params)
        alpha = jnp.exp(held["alpha"])
        target_key, actor_key = jax.random.split(key)
        next_action, next_log_prob = act(held["actor"], following, target_key)
        value = values(target, following, next_action).min(0) - alpha * next_log_prob
        error = reward + 0.99 * discount * value - values(params["critic"], observation, action)
        chosen, log_prob = act(params["actor"], observation, actor_key)
        actor_loss = (alpha * log_prob - values(held["critic"], observation, chosen).min(0)).mean()
        entropy_gap = jax.lax.stop_gradient(log_prob).mean() + math.log(2) - 1.0
        return (error**2).mean(1).sum() + actor_loss - params["alpha"] * entropy_gap

    @jax.jit
    def train(state, batch):
        params, target, opt_state, key = state
        key, loss_key = jax.random.split(key)
        value, gradient = jax.value_and_grad(loss)(params, target, batch, loss_key)
        updates, opt_state = optimizer.update(gradient, opt_state)
        params = optax.apply_updates(params, updates)
        target = jax.tree.map(lambda t, p: 0.995 * t + 0.005 * p, target, params["critic"])
        return (params, target, opt_state, key), value

    def run(n: int) -> int:
        nonlocal state
        for _ in range(n):
            state, _ = train(state, batch)
        jax.block_until_ready(state)
        return n

    return run

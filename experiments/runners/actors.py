"""Drivers on Ray actors that feed a learner in this process."""

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...agents.agent import TrainState
from ...drivers import Balance, Block, BlockWriter, ParallelDriver
from ...envs.types import Tree
from ...learners import Learner, learn, replay_update
from ...learners.compiling import initial_state
from .protocol import Episodes, Progress
from .worker import Worker, worker_of


class ActorsRunner:
    """`num_workers` actors, which share `config.num_envs` environments, at least one each.

    Agents that learn from replay have a buffer here, and a `Balance` holds actors and learner to
    the configuration's updates per step. On-policy agents learn from a slice of each actor, made
    with the newest parameters while the learner waits; IMPALA from as many slices as there are
    actors, as they come.

    Resuming starts new episodes.

    Args:
      config, agent: that fit together.
      make_env: builds so many environments.
      make_agent: builds the agent there, from the environment's specs.
      buffer: of agents that learn from replay.
      seed: of everything that is drawn here; what actors draw is theirs, but when it comes is not a
        function of it.
      num_workers: how many actors; 0: one in this process, without Ray.
    """

    chunk = 1_000

    def __init__(
        self,
        config: Any,
        agent: Any,
        make_env: Callable[[int], Any],
        make_agent: Callable[[Any], Any],
        buffer: Any,
        seed: int,
        num_workers: int,
    ):
        self.replay: Any = buffer
        self._config, self._agent, self._make_env, self._make_agent = (
            config,
            agent,
            make_env,
            make_agent,
        )
        self._num_workers, self._num_envs, self._seed = (
            num_workers,
            max(1, config.num_envs // max(1, num_workers)),
            seed,
        )
        self._waiting: list[Block] = []  # IMPALA's, for the next update
        self._steps_before = self._updates = self._replaced = 0
        train_key, self._key = jax.random.split(jax.random.key(seed))
        self._state: TrainState = initial_state(agent, train_key)
        if buffer is not None:
            self._learner = Learner(agent)
            self._dataset, self._write = (
                buffer.as_dataset(config.batch_size),
                BlockWriter(partial(buffer.writer, self._num_envs)),
            )
            ratio = config.updates_per_iteration / config.steps_per_iteration
            self._balance = Balance(ratio, config.warmup_steps)
        else:
            epochs, parts = config.num_epochs, config.num_minibatches
            update = lambda state, rows, key: learn(agent, state, rows, key, epochs, parts)
            self._update = jax.jit(update, donate_argnums=0)

    @cached_property
    def driver(self) -> ParallelDriver:
        """The actors; started when they are first needed."""
        make_agent = self._make_agent
        random = self.replay is not None and not self._agent.collect_data_spec.policy_info
        warmup = max(0, self._config.warmup_steps - self._steps_before) if random else 0
        return ParallelDriver(
            partial(self._make_env, self._num_envs),
            lambda specs: make_agent(specs).collect_policy,
            num_actors=self._num_workers,
            num_rows=getattr(self._config, "num_rows", 32),
            warmup_steps=warmup // max(1, self._num_workers),
            max_in_flight=2 if self.replay is not None or self._config.corrects_lag else 1,
            seed=self._seed + self._steps_before,
        )

    @property
    def num_steps(self) -> int:
        return self._steps_before + (self.driver.num_steps if "driver" in self.__dict__ else 0)

    @property
    def train_state(self) -> TrainState:
        return jax.tree.map(jnp.copy, self._state)

    @train_state.setter
    def train_state(self, state: TrainState) -> None:
        self._state = jax.tree.map(jnp.copy, state)
        self._replaced += 1

    def advance(self, num_steps: int) -> Progress:
        updates, stop = self._updates, self.num_steps + num_steps
        self._publish(wait=True)
        metrics: list[dict[str, Any]] = []
        blocks: list[Block] = []
        while self.num_steps < stop:
            if self.replay is not None:
                blocks += self._act_and_train(metrics)
            elif self._config.corrects_lag:
                blocks += self._learn_as_they_come(metrics)
            else:
                self._publish(wait=True)
                made = self.driver.gather()
                blocks += made
                self._learn(made, metrics)
        means = {
            name: float(np.mean([float(m[name]) for m in metrics]))
            for name in (metrics[0] if metrics else {})
        }
        episodes: list[Episodes] = [
            (float(r), float(n), 1)
            for block in blocks
            for r, n in zip(block.returns, block.lengths, strict=True)
        ]
        return Progress(self._updates - updates, means, episodes)

    def state(self) -> tuple[dict[str, Tree], dict[str, Any]]:
        return {"agent": self.train_state}, {
            "num_steps": self.num_steps,
            "num_updates": self._updates,
        }

    def set_state(self, state: Mapping[str, Tree], counters: Mapping[str, Any], seed: int) -> None:
        self.train_state = state["agent"]
        if "driver" in self.__dict__:
            self.driver.close()
            del self.__dict__["driver"]
        self._steps_before, self._updates, self._seed = (
            counters["num_steps"],
            counters["num_updates"],
            seed,
        )

    def foreach_worker(self, function: Callable[[Worker, int], Any]) -> list[Any]:
        """What a function of (worker, index) gives in each actor, in their order; they are numbered
        from 1. None in process.
        """
        if not self._num_workers:
            return []
        if self.driver.version < 0:
            self._publish(wait=True)
        make_agent, seed = self._make_agent, self._seed
        return self.driver.foreach_actor(
            lambda collector: function(worker_of(collector, make_agent, seed), collector.actor + 1)
        )

    def sync_workers(self) -> None:
        """Has the actors take the parameters as they are now."""
        self._publish(wait=True)
        self.driver.foreach_actor(lambda collector: collector.pull())

    def close(self) -> None:
        if "driver" in self.__dict__:
            self.driver.close()
        if self.replay is not None:
            self.replay.close()

    def _act_and_train(self, metrics: list[dict[str, Any]]) -> list[Block]:
        owed, may_act = (
            self._balance.owed(self.num_steps, self._updates),
            self._balance.may_act(self.num_steps, self._updates),
        )
        blocks = self.driver.poll(0.0 if owed else 0.1, start=may_act)
        for block in blocks:
            self._write(block)
        for _ in range(min(owed, 32)):
            experience, info = next(self._dataset)
            draws = None
            if self._config.priority_exponent is not None:
                draws = (info.probability, info.table_size)
            self._state, losses, priorities = replay_update(
                self._learner.train,
                self._state,
                experience,
                draws,
                self._config.importance_exponent,
            )
            if priorities is not None:
                self.replay.update_priorities(info.key, np.asarray(priorities))
            metrics.append(losses.metrics)
            self._updates += 1
        self._publish(wait=False)
        return blocks

    def _learn_as_they_come(self, metrics: list[dict[str, Any]]) -> list[Block]:
        blocks, number = self.driver.poll(timeout=1.0), max(1, self._num_workers)
        self._waiting += blocks
        while len(self._waiting) >= number:
            self._learn(self._waiting[:number], metrics)
            del self._waiting[:number]
            self._publish(wait=False)
        return blocks

    def _learn(self, blocks: list[Block], metrics: list[dict[str, Any]]) -> None:
        rows = jax.tree.map(
            lambda *parts: np.concatenate(parts), *(block.segments() for block in blocks)
        )
        self._state, means = self._update(
            self._state, rows, jax.random.fold_in(self._key, self._updates)
        )
        metrics.append(means)
        self._updates += self._config.num_epochs * self._config.num_minibatches

    def _publish(self, *, wait: bool) -> None:
        self.driver.publish(
            self._updates + self._replaced, self._agent.policy_params(self._state), wait=wait
        )

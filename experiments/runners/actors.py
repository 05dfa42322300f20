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
    """Actors that step environments, and a learner in this process.

    The environments of the configuration are divided among the actors; each has at least one.
    Agents that learn from replay have a buffer here, and a `Balance` holds actors and learner to
    the configuration's updates per step. On-policy agents learn from a slice of each actor, made
    with the newest parameters while the learner waits; IMPALA learns from as many slices as there
    are actors, as they come. Resuming starts new episodes.

    Args:
      config: Configuration of the run.
      agent: Agent of the configuration.
      make_env: Function that makes a number of environments in an actor.
      make_agent: Function that makes the agent there, from the environment's specs.
      buffer: Replay buffer; None for agents that learn from their own recent rows.
      seed: Seed of everything that is drawn here. The draws of actors follow from it too, but the
        order in which their rows arrive does not.
      num_workers: Number of actors; 0 for one in this process, without Ray.
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
        self._config = config
        self._agent = agent
        self._make_env = make_env
        self._make_agent = make_agent
        self._num_workers = num_workers
        self._num_envs = max(1, config.num_envs // max(1, num_workers))
        self._seed = seed
        self._waiting: list[Block] = []  # IMPALA's, for the next update
        self._steps_before = self._updates = self._replaced = 0
        train_key, self._key = jax.random.split(jax.random.key(seed))
        self._state: TrainState = initial_state(agent, train_key)
        if buffer is not None:
            self._learner = Learner(agent)
            self._dataset = buffer.as_dataset(config.batch_size)
            self._write = BlockWriter(partial(buffer.writer, self._num_envs))
            ratio = config.updates_per_iteration / config.steps_per_iteration
            self._balance = Balance(ratio, config.warmup_steps)
        else:
            update = lambda state, rows, key: learn(
                agent, state, rows, key, config.num_epochs, config.num_minibatches
            )
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
        """The number of environment steps so far, of all actors together."""
        return self._steps_before + (self.driver.num_steps if "driver" in self.__dict__ else 0)

    @property
    def train_state(self) -> TrainState:
        """The agent's state, a copy; may be set."""
        return jax.tree.map(jnp.copy, self._state)

    @train_state.setter
    def train_state(self, state: TrainState) -> None:
        self._state = jax.tree.map(jnp.copy, state)
        self._replaced += 1

    def advance(self, num_steps: int) -> Progress:
        """Makes about this many steps, with their updates; the first ones are the warm-up."""
        updates = self._updates
        stop = self.num_steps + num_steps
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
        while owed := self._owed():
            self._train(owed, metrics)
        means = {
            name: float(np.mean([float(m[name]) for m in metrics]))
            for name in (metrics[0] if metrics else {})
        }
        episodes = [
            Episodes(float(r), float(n), 1)
            for block in blocks
            for r, n in zip(block.returns, block.lengths, strict=True)
        ]
        return Progress(self._updates - updates, means, episodes)

    def state(self) -> tuple[dict[str, Tree], dict[str, Any]]:
        """Returns the arrays to save, and counters for JSON."""
        return {"agent": self.train_state}, {
            "num_steps": self.num_steps,
            "num_updates": self._updates,
        }

    def set_state(self, state: Mapping[str, Tree], counters: Mapping[str, Any], seed: int) -> None:
        """Goes on from what `state` gave, in new episodes."""
        self.train_state = state["agent"]
        if "driver" in self.__dict__:
            self.driver.close()
            del self.__dict__["driver"]
        self._steps_before = counters["num_steps"]
        self._updates = counters["num_updates"]
        self._seed = seed

    def foreach_worker(self, function: Callable[[Worker, int], Any]) -> list[Any]:
        """Calls a function of (worker, index) in each actor; returns the results in their order.

        Indices begin at 1. Without Ray there are no results.
        """
        if not self._num_workers:
            return []
        if self.driver.version < 0:
            self._publish(wait=True)
        make_agent = self._make_agent
        seed = self._seed
        return self.driver.foreach_actor(
            lambda collector: function(worker_of(collector, make_agent, seed), collector.actor + 1)
        )

    def sync_workers(self) -> None:
        """Has the actors take the parameters as they are now."""
        self._publish(wait=True)
        self.driver.foreach_actor(lambda collector: collector.pull())

    def close(self) -> None:
        """Ends the actors and closes the buffer."""
        if "driver" in self.__dict__:
            self.driver.close()
        if self.replay is not None:
            self.replay.close()

    def _act_and_train(self, metrics: list[dict[str, Any]]) -> list[Block]:
        owed = self._owed()
        may_act = self._balance.may_act(self.num_steps, self._updates)
        blocks = self.driver.poll(0.0 if owed else 0.1, start=may_act)
        for block in blocks:
            self._write(block)
        self._train(owed, metrics)
        self._publish(wait=False)
        return blocks

    def _owed(self) -> int:
        """The number of updates that the steps so far have brought and that were not made yet."""
        if self.replay is None:
            return 0
        return self._balance.owed(self.num_steps, self._updates)

    def _train(self, owed: int, metrics: list[dict[str, Any]]) -> None:
        """Makes updates from replay, so few at a time that actors need not wait for long."""
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

    def _learn_as_they_come(self, metrics: list[dict[str, Any]]) -> list[Block]:
        blocks = self.driver.poll(timeout=1.0)
        number = max(1, self._num_workers)
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

"""Many requests for an action, one call of the policy."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from ..envs.types import Array, PolicyStep, TimeStep, Tree
from ..policies.policy import Policy


class ActionRequest(NamedTuple):
    """What one action depends on, beside the parameters: unbatched leaves; `episode` and `step`
    (int32) choose its key.
    """

    time_step: TimeStep
    state: Tree
    episode: Array
    step: Array


class ActionBatcher:
    """Collects requests while the policy is busy and answers them in one compiled call, padded to a
    power of two.

    A batch is closed when it is full, when `num_clients` requests wait (nobody else can ask), or
    `max_wait` seconds after its first request. Requests, their order and the padding do not change
    an action: its key is folded from its episode and step, and with `exact` the call maps the
    unbatched computation over the batch, so that each answer is bit for bit that of
    `policies.policy.act` on its own (a test compares). For a large network, `exact=False` computes
    the batch at once, which is faster and differs in the last bits.

    Args:
      policy: what to ask.
      params: gives (version, parameters); asked once for each batch, so that a batch is of one
        version.
      key: typed key of the draws.
      executor: of one thread, where the policy is called.
      max_batch_size: a power of two.
      max_wait: seconds.
      exact: see above.
      num_clients: gives how many requests can be expected at once.
      act: in place of the compiled policy call, for tests: maps (params, requests `[B]`) to a
        `PolicyStep` `[B]`.

    Raises:
      ValueError: if `max_batch_size` is no power of two, or `max_wait` is negative.
    """

    def __init__(
        self,
        policy: Policy,
        params: Callable[[], tuple[int, Tree]],
        key: Array,
        executor: Executor,
        *,
        max_batch_size: int = 64,
        max_wait: float = 0.001,
        exact: bool = True,
        num_clients: Callable[[], int] | None = None,
        act: Callable[[Tree, ActionRequest], PolicyStep] | None = None,
    ):
        if max_batch_size < 1 or max_batch_size & (max_batch_size - 1):
            raise ValueError(f"max_batch_size: expected a power of two, got {max_batch_size}")
        if not max_wait >= 0:
            raise ValueError(f"max_wait: expected 0 seconds or more, got {max_wait}")
        self.policy, self.max_batch_size, self.max_wait = policy, max_batch_size, max_wait
        self.num_batches = self.num_requests = 0
        self._params, self._executor = params, executor
        self._num_clients = num_clients or (lambda: max_batch_size)
        self._act = act or (
            lambda params, requests: act_on_batch(policy, exact, params, requests, key)
        )
        self._waiting: list[tuple[ActionRequest, asyncio.Future]] = []
        self._changed = asyncio.Event()

    def warm_up(self, time_step: TimeStep) -> None:
        """Compiles for every batch size, with an example of an unbatched time step."""
        size = 1
        while size <= self.max_batch_size:
            self._call(
                [ActionRequest(time_step, self.policy.initial_state(), np.int32(0), np.int32(0))]
                * size
            )
            size *= 2
        self.num_batches = self.num_requests = 0

    async def action(self, request: ActionRequest) -> tuple[PolicyStep, int]:
        """The policy's answer, of NumPy arrays, and the version of the parameters that gave it."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        self._changed.set()
        return await future

    async def run(self) -> None:
        """Answers requests until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            while not self._waiting:
                self._changed.clear()
                await self._changed.wait()
            await self._fill()
            batch, self._waiting = (
                self._waiting[: self.max_batch_size],
                self._waiting[self.max_batch_size :],
            )
            try:
                steps, version = await loop.run_in_executor(
                    self._executor, self._call, [request for request, _ in batch]
                )
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), step in zip(batch, steps, strict=True):
                if not future.done():  # its client may have gone
                    future.set_result((step, version))

    async def _fill(self) -> None:
        wanted = min(self.max_batch_size, self._num_clients())
        deadline = asyncio.get_running_loop().time() + self.max_wait
        while (
            len(self._waiting) < wanted
            and (left := deadline - asyncio.get_running_loop().time()) > 0
        ):
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                return

    def _call(self, requests: list[ActionRequest]) -> tuple[list[PolicyStep], int]:
        version, params = self._params()
        size = 1 << (len(requests) - 1).bit_length()
        padded = requests + requests[-1:] * (size - len(requests))
        batch = jax.tree.map(lambda *leaves: np.stack(leaves), *padded)
        leaves: list[Any]
        treedef: Any
        leaves, treedef = jax.tree.flatten(jax.device_get(self._act(params, batch)))
        self.num_batches += 1
        self.num_requests += len(requests)
        return [
            treedef.unflatten([leaf[i] for leaf in leaves]) for i in range(len(requests))
        ], version


@partial(jax.jit, static_argnums=(0, 1))
def act_on_batch(
    policy: Policy, exact: bool, params: Tree, requests: ActionRequest, key: Array
) -> PolicyStep:
    """The policy's answers `[B]`: each as if alone, with the key
    `request_key(key, episode, step)`.
    """

    def one(request: ActionRequest) -> PolicyStep:
        return policy.action(
            params,
            request.time_step,
            request.state,
            request_key(key, request.episode, request.step),
        )

    return jax.lax.map(one, requests) if exact else jax.vmap(one)(requests)


def request_key(key: Array, episode: Any, step: Any) -> Array:
    """The key of an episode's action number `step`: it depends on nothing else, so other clients do
    not disturb it.
    """
    return jax.random.fold_in(jax.random.fold_in(key, episode), step)

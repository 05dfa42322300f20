"""Batches of requests for actions, each answered by one call of the policy."""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from operator import itemgetter
from typing import NamedTuple, TypeAlias

import jax
import numpy as np

from ..envs.types import Array, PolicyStep, TimeStep, Tree
from ..policies.policy import Policy, check_pure


class ActionRequest(NamedTuple):
    """The inputs of one action except the parameters, with unbatched leaves.

    Attributes:
      time_step: Time step to act on.
      state: Recurrent state of the policy.
      episode: Number of the episode, int32, which its keys are folded from.
      step: Number of the action in the episode, int32, which its key is folded from.
    """

    time_step: TimeStep
    state: Tree
    episode: Array
    step: Array


Act: TypeAlias = Callable[[Tree, ActionRequest], PolicyStep]  # (params, requests [B]) -> steps [B]


class ActionBatcher:
    """Collects requests while the policy is busy, and answers them in one compiled call.

    The call is padded to a power of two. A batch is closed when it is full, when `num_clients`
    requests wait (nobody else can ask), or `max_wait` seconds after its first request. Requests,
    their order and the padding do not change an action: its key is folded from its episode and
    step, and with `exact` the call maps the unbatched computation over the batch, so that each
    answer is bit for bit the one of `policies.policy.act` for that request alone (a test compares).
    For a large network, `exact=False` computes the batch at once, which is faster and differs in
    the last bits.

    Args:
      policy: Policy to ask.
      params: Function that returns (version, parameters); called once for each batch, so that a
        batch is of one version.
      key: Typed random key of the draws.
      executor: Executor with one thread, on which the policy is called.
      max_batch_size: Greatest number of requests in a batch, a power of two.
      max_wait: Seconds.
      exact: False to compute a batch at once.
      num_clients: Function that returns the number of requests that can be expected at once.
      act: Function in place of the compiled policy call, for tests.

    Attributes:
      num_batches: Number of calls of the policy.
      num_requests: Number of requests in these calls.

    Raises:
      ValueError: if `max_batch_size` is not a power of two, or `max_wait` is negative.
      TypeError: if the policy is plain Python, which cannot be compiled.
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
        act: Act | None = None,
    ):
        if max_batch_size < 1 or max_batch_size & (max_batch_size - 1):
            raise ValueError(f"max_batch_size: expected a power of two, got {max_batch_size}")
        if not max_wait >= 0:
            raise ValueError(f"max_wait: expected 0 seconds or more, got {max_wait}")
        if act is None:
            check_pure(policy)
        self.policy = policy
        self.max_batch_size = max_batch_size
        self.max_wait = max_wait
        self.num_batches = 0
        self.num_requests = 0
        self._params = params
        self._executor = executor
        self._num_clients = num_clients or (lambda: max_batch_size)
        self._act = act or (
            lambda params, requests: act_on_batch(policy, exact, params, requests, key)
        )
        self._waiting: list[tuple[ActionRequest, asyncio.Future[tuple[PolicyStep, int]]]] = []
        self._changed = asyncio.Event()

    def warm_up(self, time_step: TimeStep) -> None:
        """Compiles for every batch size, with an example of an unbatched time step."""
        request = ActionRequest(time_step, self.policy.initial_state(), np.int32(0), np.int32(0))
        for exponent in range(self.max_batch_size.bit_length()):
            self._call([request] * 2**exponent)

    async def action(self, request: ActionRequest) -> tuple[PolicyStep, int]:
        """Returns the policy's answer as NumPy arrays, and the version of its parameters."""
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
            batch = self._waiting[: self.max_batch_size]
            self._waiting = self._waiting[self.max_batch_size :]
            requests = [request for request, _ in batch]
            self.num_batches += 1
            self.num_requests += len(requests)
            try:
                steps, version = await loop.run_in_executor(self._executor, self._call, requests)
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
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.max_wait):
                while len(self._waiting) < wanted:
                    self._changed.clear()
                    await self._changed.wait()

    def _call(self, requests: list[ActionRequest]) -> tuple[list[PolicyStep], int]:
        version, params = self._params()
        size = 1 << (len(requests) - 1).bit_length()
        padded = requests + requests[-1:] * (size - len(requests))
        batch = jax.tree.map(lambda *leaves: np.stack(leaves), *padded)
        steps = jax.device_get(self._act(params, batch))
        parts = [jax.tree.map(itemgetter(i), steps) for i in range(len(requests))]
        return parts, version


@partial(jax.jit, static_argnums=(0, 1))
def act_on_batch(
    policy: Policy, exact: bool, params: Tree, requests: ActionRequest, key: Array
) -> PolicyStep:
    """Returns the policy's answers `[B]`, each as if its request was alone.

    Args:
      policy: Pure policy.
      exact: True to map the unbatched computation over the batch, False to vectorise it.
      params: Parameters of the policy.
      requests: Requests `[B]`.
      key: Typed random key, from which `request_key` makes the key of each request.
    """

    def one(request: ActionRequest) -> PolicyStep:
        draw = request_key(key, request.episode, request.step)
        return policy.action(params, request.time_step, request.state, draw)

    return jax.lax.map(one, requests) if exact else jax.vmap(one)(requests)


def request_key(key: Array, episode: Array, step: Array) -> Array:
    """Returns the key of an episode's action number `step`, which depends on nothing else."""
    return jax.random.fold_in(jax.random.fold_in(key, episode), step)

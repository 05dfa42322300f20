"""One environment broken in one way for each thing that is checked."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from jax_agents import envs
from jax_agents.envs import (
    SpecError,
    probes,
    restart,
    termination,
    transition,
    validate_environment,
)

SPECS = envs.EnvironmentSpecs(envs.BoundedSpec((2,), np.float32, -10, 10), envs.DiscreteSpec(3))
MASKED = envs.EnvironmentSpecs(
    {"observation": SPECS.observation, "action_mask": envs.ArraySpec((3,), np.bool_)}, SPECS.action
)


class Good:
    """Three steps an episode; right in everything, each part open to being broken."""

    num_envs = None
    specs = SPECS

    def __init__(self):
        self.ended = True
        self.rng = np.random.default_rng()

    def observation(self):
        return self.rng.uniform(-1, 1, 2).astype(np.float32)

    def reset(self, seed=None):
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.count, self.ended = 0, False
        return restart(self.observation())

    def step(self, action):
        envs.validate(action, self.specs.action, values=True)
        if self.ended:
            return self.reset()
        self.count += 1
        if self.count == 3:
            self.ended = True
            return termination(self.observation(), reward=1.0)
        return transition(self.observation(), reward=1.0)


class NoSpecs:
    def reset(self, seed=None): ...
    def step(self, action): ...


class NotSpecs(Good):
    specs = {"observation": 1}  # noqa: RUF012


class NotATimeStep(Good):
    def reset(self, seed=None):
        return super().reset(seed).observation


class WrongDtype(Good):
    def observation(self):
        return super().observation().astype(np.float64)


class OutOfBounds(Good):
    def observation(self):
        return super().observation() + np.float32(20)


class MissingLeaf(Good):
    specs = MASKED


class WrongRewardDtype(Good):
    def step(self, action):
        return super().step(action)._replace(reward=1.0)


class NoFirst(Good):
    def reset(self, seed=None):
        return transition(super().reset(seed).observation, reward=0.0)


class NoResetAfterLast(Good):
    def step(self, action):
        self.ended = False
        return super().step(action)


class FirstWithoutLast(Good):
    def step(self, action):
        time_step = super().step(action)
        return self.reset() if time_step.is_last() else time_step


class RewardOnFirst(Good):
    def reset(self, seed=None):
        return super().reset(seed)._replace(reward=np.float32(1))


class ZeroDiscountInTheMiddle(Good):
    def step(self, action):
        return super().step(action)._replace(discount=np.float32(0))


class BigDiscount(Good):
    def step(self, action):
        return super().step(action)._replace(discount=np.float32(2))


class Unseeded(Good):
    def reset(self, seed=None):
        return super().reset(None)


class Aliased(Good):
    def __init__(self):
        super().__init__()
        self.buffer = np.zeros(2, np.float32)

    def observation(self):
        self.buffer[:] = super().observation()
        return self.buffer


class ForbidsAll(Good):
    specs = MASKED

    def observation(self):
        return {"observation": super().observation(), "action_mask": np.zeros(3, np.bool_)}


class NoBatch(Good):
    num_envs = 2


class WrongBatch(Good):
    num_envs = 2

    def reset(self, seed=None):
        return restart(np.zeros((3, 2), np.float32), batch_shape=(3,))


def test_a_good_environment_passes():
    validate_environment(Good(), 50)


def test_masks_are_obeyed():
    class Masked(Good):
        specs = MASKED

        def observation(self):
            return {
                "observation": super().observation(),
                "action_mask": np.array([False, False, True]),
            }

        def step(self, action):
            assert self.ended or action == 2
            return super().step(action)

    validate_environment(Masked(), 50)


@pytest.mark.parametrize(
    ("env", "words"),
    [
        (NoSpecs(), "NoSpecs has no 'specs'"),
        (NotSpecs(), "specs: expected EnvironmentSpecs, got dict"),
        (NotATimeStep(), "reset: expected a TimeStep, got ndarray"),
        (WrongDtype(), r"reset: observation: expected float32\[2\], got float64\[2\]; cast"),
        (OutOfBounds(), "reset: observation: 2 of 2 numbers lie outside"),
        (MissingLeaf(), "observation/action_mask: missing"),
        (WrongRewardDtype(), "step 0: reward: expected float32"),
        (NoFirst(), "reset: reset has to return a FIRST time step"),
        (NoResetAfterLast(), "step 3: the step after a LAST time step has to return a FIRST"),
        (FirstWithoutLast(), "step 2: FIRST without a LAST"),
        (RewardOnFirst(), "reset: a FIRST time step has reward 0"),
        (ZeroDiscountInTheMiddle(), "step 0: discount is 0 before"),
        (BigDiscount(), "step 0: discount: .*outside"),
        (Unseeded(), "second reset: observation/value differs although the seed, 0"),
        (Aliased(), "step 0: observation of the previous time step has changed"),
        (ForbidsAll(), "reset: action_mask forbids every action"),
        (NoBatch(), r"reset: .*\[batch\]"),
        (WrongBatch(), "reset: step_type: expected a leading axis of num_envs=2"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_each_breach_is_found_and_explained(env, words):
    with pytest.raises(SpecError, match=words):
        validate_environment(env, 20)


@dataclasses.dataclass(frozen=True, eq=False)
class BrokenState:
    """A JAX environment whose state changes its dtype, its structure, or cannot be traced."""

    breach: str
    specs = probes.ConstantReward().specs

    def reset(self, key):
        return jnp.zeros(()), restart(jnp.zeros(1))

    def step(self, state, action):
        if self.breach == "traced" and state > 0:
            return state, transition(jnp.zeros(1), reward=0.0)
        states = {"dtype": state.astype(jnp.int32), "structure": (state, state)}
        return states.get(self.breach, state), transition(
            jnp.zeros(1, jnp.int32 if self.breach == "step" else jnp.float32), reward=0.0
        )


@pytest.mark.parametrize(
    ("breach", "words"),
    [
        ("dtype", r"state/value: step returns int32\[\], reset returned float32\[\]"),
        ("structure", "state: step returns the structure"),
        ("traced", "tracing it failed"),
        ("step", r"time step/observation: step returns int32\[1\]"),
    ],
)
def test_jax_environments_that_cannot_be_scanned(breach, words):
    with pytest.raises(SpecError, match=words):
        validate_environment(BrokenState(breach), 5)


def test_jax_environments_pass_alone_and_in_batches():
    validate_environment(probes.MaskedActions(), 40)
    validate_environment(envs.HostEnvironment(probes.OneState(), 3), 40)


def test_multi_discrete_masks_by_factor():
    class Multi(Good):
        specs = envs.EnvironmentSpecs(
            {"observation": SPECS.observation, "action_mask": envs.ArraySpec((5,), np.bool_)},
            envs.DiscreteSpec((2, 3)),
        )
        mask = np.array([True, False, False, False, True])

        def observation(self):
            return {"observation": super().observation(), "action_mask": self.mask.copy()}

        def step(self, action):
            np.testing.assert_array_equal(action, [0, 2])
            return super().step(action)

    validate_environment(Multi(), 20)
    Multi.mask = np.array([True, True, False, False, False])
    with pytest.raises(SpecError, match=r"forbids every action \(factor 1\)"):
        validate_environment(Multi(), 20)

"""What one path to an agent refuses, all refuse, with one message: a table of faults and of paths.

A fault is something in the specs, or in a time step, that no agent could learn from. A path is a
place where specs or data come in: environments on the host and on device, drivers, loops,
evaluation, buffers, data sets and the constructors of agents.
"""

import dataclasses
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_agents import agents, drivers, envs, evaluation, learners, networks, policies, replay
from jax_agents.agents.bc import check_dataset
from jax_agents.drivers.episodes import play_episodes
from jax_agents.drivers.rollout import rollout, start_rollout
from jax_agents.envs.classic import CartPole
from jax_agents.envs.specs import (
    ArraySpec,
    BoundedSpec,
    DiscreteSpec,
    EnvironmentSpecs,
    SpecError,
    trajectory_spec,
    zeros,
)
from jax_agents.envs.types import TimeStep
from jax_agents.experiments import DqnConfig, PpoConfig, Trainer

OPTIMIZER = optax.sgd(0.1)
VECTOR = ArraySpec((2,))


def masked(mask, action=None):
    action = DiscreteSpec(3) if action is None else action
    return EnvironmentSpecs({"observation": VECTOR, "action_mask": mask}, action)


def plain(**changes):
    return dataclasses.replace(EnvironmentSpecs(VECTOR, DiscreteSpec(3)), **changes)


FAULTS = {
    "a mask of floats": (masked(ArraySpec((3,))), r"action_mask: expected bool\[3\], .*float32"),
    "a mask of integers": (
        masked(BoundedSpec((3,), np.int8, 0, 1)),
        r"action_mask: expected bool\[3\], .*int8\[3\]",
    ),
    "a mask of another length": (
        masked(ArraySpec((4,), np.bool_)),
        r"action_mask: expected bool\[3\], .*bool\[4\]",
    ),
    "a mask of continuous actions": (
        masked(ArraySpec((3,), np.bool_), BoundedSpec((3,), np.float32, -1, 1)),
        "action_mask: only discrete actions can be masked",
    ),
    "several rewards": (plain(reward=ArraySpec((2,))), r"reward: expected one float.*float32\[2\]"),
    "integer rewards": (
        plain(reward=ArraySpec((), np.int32)),
        r"reward: expected one float.*int32\[\]",
    ),
    "discounts above 1": (
        plain(discount=BoundedSpec((), np.float32, 0, 2)),
        r"discount: expected bounds within 0\.\.1, got 0\.0\.\.2\.0",
    ),
    "several discounts": (plain(discount=ArraySpec((2,))), "discount: expected one float"),
    "64 bits": (
        plain(observation=ArraySpec((2,), np.float64)),
        r"observation: expected at most 32 bits.*float64\[2\]",
    ),
    "no range": (
        plain(action=BoundedSpec((1,), np.float32, 1, -1)),
        "action: expected minimum <= maximum",
    ),
    "no spec": (plain(observation={"x": (3,)}), r"observation/x/0: expected an ArraySpec"),
    "words": (plain(observation=ArraySpec((2,), "U3")), "observation: expected numbers"),
}


class HostEnv:
    """A host environment with any specs, whose first time step may be altered."""

    num_envs = None

    def __init__(self, specs, **altered):
        self.specs = specs
        self.altered = altered

    def reset(self, seed=None):
        step = TimeStep(np.int32(0), np.float32(0), np.float32(1), zeros(self.specs.observation))
        return step._replace(**self.altered)

    def step(self, action):
        return self.reset()._replace(step_type=np.int32(1))

    def close(self):
        pass


@dataclasses.dataclass(frozen=True, eq=False)
class JaxEnv:
    """The same in JAX."""

    specs: Any
    altered: Any = dataclasses.field(default_factory=dict)

    def reset(self, key):
        step = TimeStep(jnp.int32(0), jnp.float32(0), jnp.float32(1), zeros(self.specs.observation))
        return key, jax.tree.map(jnp.asarray, step._replace(**self.altered))

    def step(self, state, action):
        return state, self.reset(state)[1]._replace(step_type=jnp.int32(1))


@dataclasses.dataclass(frozen=True, eq=False)
class Still:
    """A policy that always takes action 0."""

    action_spec: Any = DiscreteSpec(3)

    def initial_state(self, batch_shape=()):
        return ()

    def action(self, params, time_step, state=(), key=None):
        batch = jnp.shape(time_step.step_type)
        return envs.PolicyStep(jnp.zeros((*batch, *self.action_spec.shape), self.action_spec.dtype))


SOUND = plain()
NETWORK = networks.QNetwork(3, (4,))
ACTOR_VALUE = networks.ActorValueNetwork(
    networks.ActorNetwork(DiscreteSpec(3), (4,)), networks.ValueNetwork((4,))
)
DQN = agents.DqnAgent(SOUND, NETWORK, OPTIMIZER)
PPO = agents.PpoAgent(SOUND, ACTOR_VALUE, OPTIMIZER)
ACTOR = networks.ActorNetwork(DiscreteSpec(3), (4,))
ES = agents.EsAgent(SOUND, ACTOR, OPTIMIZER)
KEY = jax.random.key(0)
NETWORKS = {
    agents.DqnAgent: (NETWORK,),
    agents.QrDqnAgent: (NETWORK,),
    agents.RecurrentDqnAgent: (networks.RecurrentQNetwork(3),),
    agents.SacAgent: (ACTOR, NETWORK),
    agents.Td3Agent: (ACTOR, NETWORK),
    agents.DdpgAgent: (ACTOR, NETWORK),
    agents.DiscreteSacAgent: (ACTOR, NETWORK),
    agents.BehavioralCloningAgent: (ACTOR,),
    agents.A2cAgent: (ACTOR_VALUE,),
    agents.PpoAgent: (ACTOR_VALUE,),
    agents.ImpalaAgent: (ACTOR_VALUE,),
    agents.ReinforceAgent: (ACTOR_VALUE,),
    agents.EsAgent: (ACTOR,),
}

# Each is a function of specs that makes something of them.
PATHS = {
    **{
        kind.__name__: lambda specs, kind=kind, nets=nets: kind(specs, *nets, OPTIMIZER)
        for kind, nets in NETWORKS.items()
    },
    "CategoricalDqnAgent": lambda specs: agents.CategoricalDqnAgent(
        specs, NETWORK, OPTIMIZER, v_min=0.0, v_max=1.0
    ),
    "HostEnvironment": lambda specs: envs.HostEnvironment(JaxEnv(specs)),
    "validate_environment": lambda specs: envs.validate_environment(HostEnv(specs)),
    "validate_environment, JAX": lambda specs: envs.validate_environment(JaxEnv(specs)),
    "Driver": lambda specs: drivers.Driver(HostEnv(specs), Still()),
    "compute_returns": lambda specs: evaluation.compute_returns(HostEnv(specs), Still(), 1),
    "evaluate_on_device": lambda specs: evaluation.evaluate_on_device(
        JaxEnv(specs), Still(), (), KEY
    ),
    "play_episodes": lambda specs: play_episodes(JaxEnv(specs), Still(), (), KEY, 1, 1),
    "start_rollout": lambda specs: start_rollout(JaxEnv(specs), Still(), KEY, KEY),
    "OffPolicyScan": lambda specs: learners.OffPolicyScan(DQN, JaxEnv(specs)),
    "OnPolicyScan": lambda specs: learners.OnPolicyScan(PPO, JaxEnv(specs)),
    "EvolutionScan": lambda specs: learners.EvolutionScan(ES, JaxEnv(specs)),
    "OffPolicyLoop": lambda specs: learners.OffPolicyLoop(
        DQN,
        HostEnv(specs),
        replay.HostReplay(DQN.collect_data_spec, capacity=8),
        batch_size=2,
        key=KEY,
    ),
    "OnPolicyLoop": lambda specs: learners.OnPolicyLoop(PPO, HostEnv(specs), key=KEY),
    "HostReplay": lambda specs: replay.HostReplay(trajectory_spec(specs), capacity=8),
    "HostQueue": lambda specs: replay.HostQueue(trajectory_spec(specs), num_rows=2),
    "DeviceReplay": lambda specs: replay.DeviceReplay(trajectory_spec(specs), 8),
    "RemoteReplay": lambda specs: replay.RemoteReplay(
        trajectory_spec(specs), address="localhost:1", capacity=8
    ),
    "check_dataset": lambda specs: check_dataset(row({}), specs),
    "Trainer, device": lambda specs: Trainer(PpoConfig(), JaxEnv(specs), runner="device"),
    "Trainer, loop": lambda specs: Trainer(DqnConfig(), JaxEnv(specs), runner="loop"),
    "Trainer, vector": lambda specs: Trainer(DqnConfig(num_envs=2), JaxEnv(specs), runner="vector"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("path", PATHS)
def test_what_one_path_refuses_all_refuse(path, fault):
    specs, told = FAULTS[fault]
    with pytest.raises(SpecError, match=rf"^{told}"):
        PATHS[path](specs)


class Game(gymnasium.Env):
    """A gymnasium environment of three actions, with any observation space."""

    action_space = gymnasium.spaces.Discrete(3)

    def __init__(self, space, reward=1.0, info=None):
        self.observation_space = space
        self.reward = reward
        self.info = info or {}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), self.reward, False, False, self.info


def with_mask(dtype):
    vector = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    return gymnasium.spaces.Dict(
        {"observation": vector, "action_mask": gymnasium.spaces.Box(0, 1, (3,), dtype)}
    )


GYMNASIUM = {
    "single": lambda make: envs.gym.make(make),
    "vector": lambda make: envs.gym.make(make, 2),
    "from_gym": lambda make: envs.gym.from_gym(make()),
    "Trainer": lambda make: Trainer(PpoConfig(normalize_observations=True), make),
    "Trainer, vector": lambda make: Trainer(PpoConfig(num_envs=2), make, runner="vector"),
}


@pytest.mark.parametrize("path", GYMNASIUM)
def test_a_mask_of_floats_is_refused_by_each_adapter_of_gymnasium(path):
    """Integers are converted, as they always were; floats would be normalised as a feature."""
    with pytest.raises(SpecError, match=r"^action_mask: expected bool\[3\], .*float32\[3\]"):
        GYMNASIUM[path](lambda: Game(with_mask(np.float32)))
    assert envs.gym.make(lambda: Game(with_mask(np.int8))).specs.observation["action_mask"] == (
        ArraySpec((3,), np.bool_)
    )


ALTERED = {
    "several rewards": ({"reward": np.zeros(2, np.float32)}, r"reward: expected .*float32\[\]"),
    "integer rewards": ({"reward": np.int32(0)}, r"reward: expected .*got int32"),
    "another observation": ({"observation": np.zeros(3, np.float32)}, "observation: expected"),
    "no observation": ({"observation": {}}, "observation: missing"),
}
STEPPED = {
    "Driver": lambda **a: drivers.Driver(HostEnv(SOUND, **a), Still()).run(num_rows=1),
    "validate_environment": lambda **a: envs.validate_environment(HostEnv(SOUND, **a)),
    "validate_environment, JAX": lambda **a: envs.validate_environment(JaxEnv(SOUND, a)),
    "HostEnvironment in a driver": lambda **a: drivers.Driver(
        envs.HostEnvironment(JaxEnv(SOUND, a)), Still()
    ).run(num_rows=1),
    "start_rollout": lambda **a: start_rollout(JaxEnv(SOUND, a), Still(), KEY, KEY),
    "play_episodes": lambda **a: play_episodes(JaxEnv(SOUND, a), Still(), (), KEY, 1, 1),
    "OffPolicyScan": lambda **a: learners.OffPolicyScan(DQN, JaxEnv(SOUND, a)).init(KEY),
    "OnPolicyScan": lambda **a: learners.OnPolicyScan(PPO, JaxEnv(SOUND, a)).init(KEY),
    "HostReplay": lambda **a: add(replay.HostReplay(trajectory_spec(SOUND), capacity=8), a),
    "HostQueue": lambda **a: add(replay.HostQueue(trajectory_spec(SOUND), num_rows=2), a),
    "check_dataset": lambda **a: check_dataset(row(a), SOUND),
}


def row(altered):
    return zeros(trajectory_spec(SOUND))._replace(**altered)


def add(buffer, altered):
    buffer.add(row(altered))


@pytest.mark.parametrize("fault", ALTERED)
@pytest.mark.parametrize("path", STEPPED)
def test_data_meets_its_specs_on_every_path(path, fault):
    altered, told = ALTERED[fault]
    with pytest.raises(SpecError, match=told):
        STEPPED[path](**altered)


@pytest.mark.parametrize("discount", [1.5, -0.5, np.nan])
@pytest.mark.parametrize("path", ["HostReplay", "HostQueue", "check_dataset", "single", "vector"])
def test_discounts_are_fractions_on_every_path_on_the_host(path, discount):
    told = r"discount: (expected numbers in 0\.\.1|.*outside 0\.0\.\.1\.0|.*NaN or infinite)"
    with pytest.raises(SpecError, match=told):
        if path in STEPPED:
            STEPPED[path](discount=np.float32(discount))
        else:
            space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
            make = lambda: Game(space, info={"discount": discount})
            env = GYMNASIUM[path](make)
            env.reset(0)
            env.step(np.zeros((2,) if path == "vector" else (), np.int32))


def test_several_rewards_of_gymnasium_are_refused():
    space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    env = envs.gym.make(lambda: Game(space, reward=np.ones(2)))
    env.reset(0)
    with pytest.raises(SpecError, match=r"reward: expected one number.*got shape \[2\]"):
        env.step(np.int32(0))


ACTING = {
    "GymEnvironment": lambda action: envs.gym.make("CartPole-v1"),
    "GymVectorEnvironment": lambda action: envs.gym.make("CartPole-v1", 2),
    "HostEnvironment": lambda action: envs.HostEnvironment(CartPole()),
    "HostEnvironment of two": lambda action: envs.HostEnvironment(CartPole(), 2),
}


@pytest.mark.parametrize("action", [2, -1])
@pytest.mark.parametrize("path", ACTING)
def test_actions_out_of_range_are_refused_on_the_host(path, action):
    env = ACTING[path](action)
    env.reset(0)
    with pytest.raises(SpecError, match=r"^action: "):
        env.step(np.full(() if env.num_envs is None else env.num_envs, action, np.int32))


@pytest.mark.parametrize(
    "wrong", [BoundedSpec((1,), np.float32, -1, 1), DiscreteSpec((2, 2)), DiscreteSpec(3, np.int8)]
)
def test_actions_of_another_spec_are_refused_on_device(wrong):
    policy = Still(wrong)
    with pytest.raises(SpecError, match=r"^action: expected .*int32"):
        play_episodes(CartPole(), policy, (), KEY, 1, 1)
    state = start_rollout(CartPole(), policy, KEY, KEY)
    with pytest.raises(SpecError, match=r"^action: expected .*int32"):
        rollout(CartPole(), policy, (), state, 2)


NUMBERS = {
    "rollout": lambda n: rollout(
        CartPole(),
        Still(DiscreteSpec(2)),
        (),
        start_rollout(CartPole(), Still(DiscreteSpec(2)), KEY, KEY),
        n,
    ),
    "start_rollout": lambda n: start_rollout(CartPole(), Still(), KEY, KEY, n),
    "OffPolicyScan": lambda n: learners.OffPolicyScan(DQN, CartPole(), rows_per_iteration=n),
    "OnPolicyScan": lambda n: learners.OnPolicyScan(PPO, CartPole(), num_rows=n),
    "EvolutionScan": lambda n: learners.EvolutionScan(ES, CartPole(), max_steps=n),
    "OnPolicyLoop": lambda n: learners.OnPolicyLoop(PPO, HostEnv(SOUND), num_rows=n, key=KEY),
    "OfflineScan": lambda n: learners.OfflineScan(
        DQN, None, zeros(trajectory_spec(SOUND), (4, 2)), batch_size=n
    ),
}


@pytest.mark.parametrize("number", [0, -1, 2.5, True])
@pytest.mark.parametrize("path", NUMBERS)
def test_numbers_of_steps_are_positive_integers_on_every_path(path, number):
    with pytest.raises(ValueError, match=rf"expected (an integer )?\w+ >= 1, got {number}"):
        NUMBERS[path](number)


def test_policies_of_random_actions_keep_to_boolean_masks():
    """A sound mask passes on each path, and is kept."""
    specs = masked(ArraySpec((3,), np.bool_))
    mask = np.array([False, True, False])
    observation = {"observation": np.zeros(2, np.float32), "action_mask": mask}
    policy = policies.RandomPolicy(specs.action)
    rows = []
    driver = drivers.Driver(HostEnv(specs, observation=observation), policy, [rows.append])
    driver.run(num_rows=3)
    state = start_rollout(JaxEnv(specs, {"observation": observation}), policy, KEY, KEY)
    env = JaxEnv(specs, {"observation": observation})
    _, on_device = rollout(env, policy, (), state, 3)
    assert [int(r.action) for r in rows] == [1, 1, 1] == on_device.action[0].tolist()

"""No two adapters step one gymnasium environment that a function has returned twice."""

import gc
from functools import partial

import gymnasium
import jax
import optax
import pytest

from jax_agents import agents, drivers, envs, networks
from jax_agents.envs import gym_sharing
from jax_agents.experiments import DqnConfig, PpoConfig, Trainer

CONFIG = DqnConfig(hidden=(4,), warmup_steps=20, batch_size=4, steps_per_report=40)


@pytest.fixture
def one():
    return gymnasium.make("CartPole-v1")


def always(env, wrap=lambda env: env):
    return lambda: wrap(env)


@pytest.mark.parametrize(
    "wrap", [lambda env: env, lambda env: gymnasium.wrappers.TimeLimit(env, 9)], ids=["", "wrapped"]
)
def test_several_of_one_are_refused(one, wrap):
    with pytest.raises(ValueError, match="returned the same CartPoleEnv for several of 3"):
        envs.gym.make(always(one, wrap), num_envs=3)
    assert envs.gym.make(always(one, wrap), num_envs=1).num_envs == 1


def test_one_that_is_in_use_is_refused_until_its_adapter_is_closed_or_gone(one):
    first = envs.gym.make(always(one))
    for num_envs in (None, 1):
        with pytest.raises(ValueError, match=r"a CartPoleEnv that is in use already.*lambda: Cart"):
            envs.gym.make(always(one), num_envs=num_envs)
    first.close()
    first.close()
    second = envs.gym.make(always(one))
    del second
    gc.collect()
    vector = envs.gym.make(always(one), num_envs=1)
    with pytest.raises(ValueError, match="in use already"):
        envs.gym.make(always(one))
    vector.close()
    envs.gym.make(always(one)).close()


def test_functions_and_ids_that_make_new_ones_pass():
    make = partial(gymnasium.make, "CartPole-v1")
    made = [envs.gym.make(env, n) for env in (make, "CartPole-v1") for n in (None, 1, 3)]
    assert [env.num_envs for env in made] == [None, 1, 3] * 2
    # an adapter of an environment that one has is asked for by name, and may be made again
    own = make()
    envs.gym.from_gym(own)
    envs.gym.from_gym(own)


def test_processes_have_copies(one):
    """One environment in processes is n: each gets a pickled copy."""
    assert (
        gym_sharing.parts(gymnasium.vector.SyncVectorEnv([always(one)] * 2)) == [one.unwrapped] * 2
    )
    env = gymnasium.vector.AsyncVectorEnv([partial(gymnasium.make, "CartPole-v1")] * 2)
    assert gym_sharing.parts(env) == []
    env.close()


# Every place that takes a function which makes gymnasium environments, by what it does with them.
PLACES = {
    "Trainer": lambda make: Trainer(CONFIG, make, replay="host"),
    "Trainer, several": lambda make: Trainer(PpoConfig(num_envs=2), make),
    "Trainer, vector": lambda make: Trainer(
        CONFIG.vectorized(2), make, runner="vector", replay="host"
    ),
    "Trainer, actors": lambda make: Trainer(CONFIG, make, runner="ray", num_workers=0),
    "make_environment": lambda make: keep_making(make),
    "ParallelDriver": lambda make: several_drivers(make),
}


def keep_making(make):
    trained = Trainer(CONFIG, partial(gymnasium.make, "CartPole-v1"), replay="host")
    trained.env = make
    first = trained.make_environment()
    trained.evaluate(1)
    first.close()


def several_drivers(make):
    network = networks.QNetwork(2, (4,))
    policy = lambda specs: agents.DqnAgent(specs, network, optax.sgd(0.1)).collect_policy
    made = [drivers.ParallelDriver(lambda: envs.gym.make(make), policy) for _ in range(2)]
    assert len(made) == 2


@pytest.mark.parametrize("place", PLACES)
def test_every_place_refuses_a_function_that_returns_the_same_twice(place, one):
    with pytest.raises(ValueError, match=r"env: the function returned (the same|a CartPoleEnv)"):
        PLACES[place](always(one))


@pytest.mark.parametrize("num_steps", [40, 80])
def test_training_and_evaluation_have_an_environment_each(num_steps):
    made = []

    def make():
        made.append(gymnasium.make("CartPole-v1"))
        return made[-1]

    trainer = Trainer(CONFIG, make, replay="host")
    trainer.train()
    before = made[0].unwrapped.state
    trainer.evaluate(2)
    assert len({id(env.unwrapped) for env in made}) == len(made) >= 3
    assert made[0].unwrapped.state is before  # it was neither reset nor stepped
    trainer.close()


def test_a_function_that_can_be_called_only_once_trains():
    calls = []

    def make():
        calls.append(None)
        if len(calls) > 1:
            raise OSError("the port is in use")
        return gymnasium.make("CartPole-v1")

    trainer = Trainer(CONFIG, make, replay="host")
    assert trainer.train()["num_env_steps_sampled_lifetime"] == 40
    with pytest.raises(OSError, match="port"):
        trainer.evaluate(1)
    assert jax.tree.leaves(trainer.get_weights())

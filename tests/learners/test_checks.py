"""Each loop, given an agent or an environment of another kind, names the loop that is for them."""

import itertools

import gymnasium
import jax
import jax.numpy as jnp
import optax
import pytest

from jax_agents import agents, envs, networks, policies, replay
from jax_agents.envs import classic
from jax_agents.learners import (
    NonFiniteError,
    OffPolicyLoop,
    OffPolicyScan,
    OnPolicyLoop,
    OnPolicyScan,
)
from jax_agents.learners.checks import check_finite, non_finite

SPECS = classic.CartPole().specs
DQN = agents.DqnAgent(SPECS, networks.QNetwork(2, (4,)), optax.sgd(0.1))
ACTOR_VALUE = networks.ActorValueNetwork(
    networks.ActorNetwork(SPECS.action, (4,)), networks.ValueNetwork((4,))
)
AGENTS = {True: agents.PpoAgent(SPECS, ACTOR_VALUE, optax.sgd(0.1)), False: DQN}
ENVS = {True: classic.CartPole(), False: envs.gym.make("CartPole-v1")}
BUFFER = replay.HostReplay(DQN.collect_data_spec, capacity=10)
LOOPS = {
    (True, True): OnPolicyScan,
    (True, False): lambda agent, env: OnPolicyLoop(
        agent, env, num_rows=8, num_minibatches=1, key=jax.random.key(0)
    ),
    (False, True): OffPolicyScan,
    (False, False): lambda agent, env: OffPolicyLoop(
        agent, env, BUFFER, batch_size=2, key=jax.random.key(0)
    ),
}
NAMES = {
    (True, True): "OnPolicyScan",
    (True, False): "OnPolicyLoop",
    (False, True): "OffPolicyScan",
    (False, False): "OffPolicyLoop",
}


@pytest.mark.parametrize("loop", LOOPS, ids=NAMES.values())
def test_the_loop_that_is_for_them_is_named(loop):
    for kind in itertools.product((True, False), repeat=2):
        on_policy, on_device = kind
        if kind == loop:
            LOOPS[loop](AGENTS[on_policy], ENVS[on_device])
            continue
        with pytest.raises(
            TypeError, match=rf"^{NAMES[loop]}: .*; learners.{NAMES[kind]} is for them$"
        ):
            LOOPS[loop](AGENTS[on_policy], ENVS[on_device])


@pytest.mark.parametrize("loop", LOOPS, ids=NAMES.values())
def test_an_environment_of_gymnasium_is_to_be_adapted(loop):
    told = (
        r"in JAX, such as envs\.classic\.CartPole\(\), got TimeLimit"
        if loop[1]
        else r"envs\.gym\.from_gym"
    )
    with pytest.raises(TypeError, match=told):
        LOOPS[loop](AGENTS[loop[0]], gymnasium.make("CartPole-v1"))


class PlainAgent(agents.DqnAgent):
    """An agent whose collect policy is plain Python."""

    @property
    def collect_policy(self):
        return policies.PythonPolicy(SPECS.action, lambda observation: 0)


@pytest.mark.parametrize("on_device", [True, False])
def test_a_collect_policy_in_plain_python_is_refused(on_device):
    agent = PlainAgent(SPECS, networks.QNetwork(2, (4,)), optax.sgd(0.1))
    with pytest.raises(TypeError, match="PythonPolicy is a policy in plain Python"):
        LOOPS[False, on_device](agent, ENVS[on_device])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("component", ["params", "target_params", "extra", "opt_state"])
def test_what_is_not_finite_in_a_state_is_named(component, bad):
    one = {"q": {"w": jnp.ones(3)}, "count": jnp.int32(1)}
    state = dict.fromkeys(("params", "target_params", "extra", "opt_state"), one)
    state["key"] = jax.random.key(0)
    assert non_finite(state) == [] and non_finite({"step": jnp.int32(0)}) == []
    check_finite(state, "nothing")
    state[component] = {"q": {"w": jnp.array([1.0, bad, 0.0])}}
    if component == "opt_state" and bad == float("inf"):
        assert non_finite(state) == []
        return
    assert non_finite(state) == [f"{component}/q/w"]
    with pytest.raises(
        NonFiniteError, match=f"^not saved: {component}/q/w is not finite. Look for"
    ):
        check_finite(state, "not saved")

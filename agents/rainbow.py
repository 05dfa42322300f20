"""Rainbow (Hessel et al. 2018), composed of a C51 agent, a network and prioritised replay."""

from collections.abc import Sequence

from ..envs.specs import EnvironmentSpecs
from ..envs.types import Array
from ..networks.encoders import default_encoder
from ..networks.q_network import QNetwork
from .agent import Optimizer
from .categorical import CategoricalDqnAgent
from .targets import TargetUpdate


def rainbow(
    specs: EnvironmentSpecs,
    optimizer: Optimizer,
    *,
    v_min: float,
    v_max: float,
    hidden: Sequence[int] = (128,),
    head_hidden: Sequence[int] = (128,),
    num_atoms: int = 51,
    noisy_sigma: float = 0.5,
    gamma: float | Array = 0.99,
    n_step: int = 3,
    target_update: TargetUpdate = CategoricalDqnAgent.target_update,
) -> CategoricalDqnAgent:
    """Returns C51 with double Q-learning, n-step returns and a dueling network with noisy layers.

    The noise explores in place of epsilon. The sixth part, prioritised replay, is the buffer's:
    `priority_exponent=0.5` (the paper's) of `learners.OffPolicyScan`, of `replay.HostReplay` or of
    `ReverbReplay`; the agent gives it the loss as the priority. This function does nothing else:
    for another network build a `CategoricalDqnAgent` directly.

        agent = rainbow(env.specs, optax.adam(1e-3), v_min=0.0, v_max=100.0)
        loop = OffPolicyScan(agent, env, priority_exponent=0.5)
        state, metrics = loop.train(key, num_iterations=10_000)

    Args:
      specs: Specs of the environment; the action must be one `DiscreteSpec` with a single factor.
      optimizer: An optax transformation.
      v_min: Smallest return represented, in units of reward.
      v_max: Greatest return represented.
      hidden: Sizes of the dense layers that value and advantages share, after the observation's
        default encoder.
      head_hidden: Sizes of the dense layers of the value and of the advantages, each.
      num_atoms: Number of atoms of a return's distribution.
      noisy_sigma: Initial scale of the noise of the layers.
      gamma: Discount factor per step; may be traced.
      n_step: Number of steps n of a return.
      target_update: Function that moves the target network.

    Raises:
      ValueError: See `CategoricalDqnAgent`.
    """
    num_actions = getattr(specs.action, "num_values", None)
    network = QNetwork(
        num_actions if isinstance(num_actions, int) else 0,  # the agent refuses 0 and says why
        hidden,
        encoder=default_encoder(specs.observation),
        head_hidden=head_hidden,
        dueling=True,
        num_atoms=num_atoms,
        noisy_sigma=noisy_sigma,
    )
    return CategoricalDqnAgent(
        specs,
        network,
        optimizer,
        gamma=gamma,
        n_step=n_step,
        double=True,
        epsilon=0.0,
        target_update=target_update,
        v_min=v_min,
        v_max=v_max,
    )

"""The algorithms by name, and configurations from JSON with errors that say what was meant."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .checking import nearest
from .cloning import BcConfig, bc_agent
from .continuous import (
    DdpgConfig,
    DiscreteSacConfig,
    SacConfig,
    Td3Config,
    ddpg_agent,
    discrete_sac_agent,
    sac_agent,
    td3_agent,
)
from .evolution import EsConfig, es_agent
from .policy_gradient import (
    A2cConfig,
    ImpalaConfig,
    PpoConfig,
    ReinforceConfig,
    a2c_agent,
    impala_agent,
    ppo_agent,
    reinforce_agent,
)
from .value_based import (
    C51Config,
    DqnConfig,
    QrDqnConfig,
    R2d2Config,
    c51_agent,
    dqn_agent,
    qr_dqn_agent,
    r2d2_agent,
)


class Preset(NamedTuple):
    """An algorithm that can be run by name: its default configuration, and what makes the agent
    from one and the specs.
    """

    config: Any
    make_agent: Callable[[Any, Any], Any]
    description: str


_RAINBOW = C51Config(
    num_steps=100_000,
    learning_rate=5e-4,
    learning_rate_end=0.0,
    steps_per_iteration=4,
    warmup_steps=1_000,
    replay_capacity=50_000,
    n_step=3,
    double=True,
    dueling=True,
    noisy_sigma=0.5,
    epsilon_start=0.0,
    epsilon_end=0.0,
    priority_exponent=0.5,
    num_atoms=51,
    v_min=0.0,
)
_RECURRENT_PPO = PpoConfig(
    num_steps=99_840,
    learning_rate=1e-3,
    gamma=0.98,
    entropy_coefficient=0.0,
    value_coefficient=0.5,
    normalize_observations=True,
    normalize_rewards=True,
    num_envs=8,
    num_rows=32,
    num_epochs=10,
    num_minibatches=1,
    clip_ratio_end=0.0,
    value_clip=None,
    hidden=(64,),
    lstm_size=64,
)
# Without the learning rate's fall to 0, one seed in five had unlearned by chance at the moment when
# training stopped.
_APEX = DqnConfig(
    num_steps=200_000,
    learning_rate_end=0.0,
    learning_rate_steps=200_000,
    n_step=3,
    batch_size=32,
    replay_capacity=50_000,
    priority_exponent=0.6,
    hidden=(64,),
    head_hidden=(64,),
    dueling=True,
    activation="tanh",
    double=True,
    target_update_period=125,
    epsilon_end=0.02,
    epsilon_decay_steps=24_000,
    td_loss="huber",
)
_APEX_DDPG = DdpgConfig(
    n_step=3, priority_exponent=0.6, steps_per_iteration=8, updates_per_iteration=8, num_envs=8
)

_APPO = ImpalaConfig(num_steps=500_000, num_epochs=4, num_minibatches=2, clip_ratio=0.2)

PRESETS: dict[str, Preset] = {
    "DQN": Preset(
        DqnConfig(),
        dqn_agent,
        "deep Q-learning; double, dueling, n-step, prioritised and noisy as options",
    ),
    "C51": Preset(
        C51Config(),
        c51_agent,
        "DQN that learns distributions of returns, on fixed atoms; DQN's options",
    ),
    "QRDQN": Preset(
        QrDqnConfig(), qr_dqn_agent, "DQN that learns quantiles of returns; DQN's options"
    ),
    "RAINBOW": Preset(
        _RAINBOW, c51_agent, "C51, double, dueling, noisy, 3-step and prioritised together"
    ),
    "R2D2": Preset(
        R2d2Config(),
        r2d2_agent,
        "DQN with memory, trained on sequences; where observations hide something",
    ),
    "PPO": Preset(
        PpoConfig(),
        ppo_agent,
        "proximal policy optimisation, clipped or with a KL penalty; any actions",
    ),
    "RECURRENT_PPO": Preset(
        _RECURRENT_PPO,
        ppo_agent,
        "PPO with an LSTM for policy and value each; where observations hide something",
    ),
    "A2C": Preset(A2cConfig(), a2c_agent, "advantage actor-critic; any actions"),
    "PG": Preset(
        ReinforceConfig(), reinforce_agent, "REINFORCE, with or without a baseline; any actions"
    ),
    "IMPALA": Preset(
        ImpalaConfig(),
        impala_agent,
        "actor-critic with V-trace, for rows of older policies; any actions",
    ),
    "APPO": Preset(
        _APPO,
        impala_agent,
        "IMPALA with PPO's clipped objective, and several passes over its rows; any actions",
    ),
    "SAC": Preset(
        SacConfig(), sac_agent, "soft actor-critic with a learned temperature; continuous actions"
    ),
    "TD3": Preset(Td3Config(), td3_agent, "twin delayed DDPG; continuous actions"),
    "DDPG": Preset(
        DdpgConfig(), ddpg_agent, "deep deterministic policy gradient; continuous actions"
    ),
    "DISCRETE_SAC": Preset(
        DiscreteSacConfig(), discrete_sac_agent, "soft actor-critic for one discrete action"
    ),
    "ES": Preset(
        EsConfig(),
        es_agent,
        "evolution strategies (OpenAI's), a whole population on device; any actions",
    ),
    "BC": Preset(
        BcConfig(),
        bc_agent,
        "behavioural cloning of a data set or an expert (--config dataset); any actions",
    ),
    # Names whose own form is distributed: what they compute, in one process.
    "A3C": Preset(
        A2cConfig(),
        a2c_agent,
        "runs A2C, its synchronous form; examples/a3c.py has actors that run apart",
    ),
    "APEX": Preset(
        _APEX, dqn_agent, "prioritised double dueling 3-step DQN; with --num-workers, by Ray actors"
    ),
    "APEX_DDPG": Preset(
        _APEX_DDPG, ddpg_agent, "prioritised 3-step DDPG; with --num-workers, by Ray actors"
    ),
}


def find_preset(name: str) -> Preset:
    """The preset of a name.

    Raises:
      ValueError: there is none; the message has the nearest names.
    """
    if name not in PRESETS:
        raise ValueError(f"no algorithm {name!r}; {nearest(name, PRESETS)}")
    return PRESETS[name]


def preset_of(config: Any) -> tuple[str, Preset]:
    """The name and the preset of the algorithm that a configuration is of: the first whose
    configuration has its class.

    Raises:
      TypeError: it is not a preset's configuration.
    """
    for name, preset in PRESETS.items():
        if type(preset.config) is type(config):
            return name, preset
    raise TypeError(
        f"config: expected a preset's configuration, such as DqnConfig(), got {config!r}"
    )


def resolve(run: Any) -> tuple[str, Any]:
    """The name of an algorithm and the settings to start from, of its name, a preset's
    configuration, or the class of one.

    Raises:
      ValueError: an unknown name.
      TypeError: it is none of these.
    """
    if isinstance(run, str):
        return run, find_preset(run).config
    config = run() if isinstance(run, type) else run
    return preset_of(config)[0], config


def make_config(name: str, values: Mapping[str, Any]) -> Any:
    """The configuration of an algorithm, with some of its defaults replaced by `values` as they
    come from JSON.

    >>> make_config("DQN", {"hidden": [64, 64], "learning_rate": 1}).hidden
    (64, 64)

    Raises:
      ValueError: an unknown key, naming the nearest ones, or a value of another type than the
        key's.
    """
    return with_values(find_preset(name).config, values, name)


def with_values(defaults: Any, values: Mapping[str, Any], name: str) -> Any:
    """As `make_config`, of defaults of one's own; `name` is for errors."""
    known = [field.name for field in dataclasses.fields(defaults)]
    for key in values:
        if key in ("num_workers", "num_gpus", "monitor"):
            raise ValueError(
                f"config of {name}: {key!r} is no setting of an algorithm; it is "
                f"--{key.replace('_', '-')} of `jax-agents "
                "train`, and in Python Trainer(..., runner='ray', num_workers=2), JAX_PLATFORMS "
                "or callbacks.Monitor"
            )
        if key not in known:
            raise ValueError(f"config of {name}: no key {key!r}; {nearest(key, known)}")
    return dataclasses.replace(defaults, **values)  # checks them


def to_json(config: Any) -> dict[str, Any]:
    """A configuration as a dict of what JSON can hold; `make_config` takes it back."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in dataclasses.asdict(config).items()
    }

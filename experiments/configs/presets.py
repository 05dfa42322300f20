"""The algorithms by name, and configurations from JSON with messages that say what was meant."""

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from .base import Config
from .checking import nearest
from .cloning import BcConfig
from .continuous import DdpgConfig, DiscreteSacConfig, SacConfig, Td3Config
from .evolution import EsConfig
from .policy_gradient import A2cConfig, ImpalaConfig, PpoConfig, ReinforceConfig
from .value_based import C51Config, DqnConfig, QrDqnConfig, R2d2Config


class Preset(NamedTuple):
    """An algorithm that can be run by name.

    Attributes:
      config: Its default configuration, which has the name.
      description: One line on it.
    """

    config: Any
    description: str


_RAINBOW = C51Config(
    algorithm="RAINBOW",
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
    algorithm="RECURRENT_PPO",
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
    algorithm="APEX",
    num_steps=200_000,
    learning_rate_end=0.0,
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
    algorithm="APEX_DDPG",
    n_step=3,
    priority_exponent=0.6,
    steps_per_iteration=8,
    updates_per_iteration=8,
    num_envs=8,
)

_APPO = ImpalaConfig(
    algorithm="APPO", num_steps=500_000, num_epochs=4, num_minibatches=2, clip_ratio=0.2
)

_A3C = A2cConfig(algorithm="A3C")

_ALL = (
    Preset(
        DqnConfig(), "deep Q-learning; double, dueling, n-step, prioritised and noisy as options"
    ),
    Preset(C51Config(), "DQN that learns distributions of returns, on fixed atoms; DQN's options"),
    Preset(QrDqnConfig(), "DQN that learns quantiles of returns; DQN's options"),
    Preset(_RAINBOW, "C51, double, dueling, noisy, 3-step and prioritised together"),
    Preset(
        R2d2Config(), "DQN with memory, trained on sequences; where observations hide something"
    ),
    Preset(PpoConfig(), "proximal policy optimisation, clipped or with a KL penalty; any actions"),
    Preset(
        _RECURRENT_PPO,
        "PPO with an LSTM for policy and value each; where observations hide something",
    ),
    Preset(A2cConfig(), "advantage actor-critic; any actions"),
    Preset(ReinforceConfig(), "REINFORCE, with or without a baseline; any actions"),
    Preset(ImpalaConfig(), "actor-critic with V-trace, for rows of older policies; any actions"),
    Preset(
        _APPO,
        "IMPALA with PPO's clipped objective, and several passes over its rows; any actions",
    ),
    Preset(SacConfig(), "soft actor-critic with a learned temperature; continuous actions"),
    Preset(Td3Config(), "twin delayed DDPG; continuous actions"),
    Preset(DdpgConfig(), "deep deterministic policy gradient; continuous actions"),
    Preset(DiscreteSacConfig(), "soft actor-critic for one discrete action"),
    Preset(
        EsConfig(),
        "evolution strategies (OpenAI's), a whole population on device; any actions",
    ),
    Preset(
        BcConfig(),
        "behavioural cloning of a data set or an expert (--config dataset); any actions",
    ),
    # Names whose own form is distributed: what they compute, in one process.
    Preset(_A3C, "runs A2C, its synchronous form; examples/a3c.py has actors that run apart"),
    Preset(_APEX, "prioritised double dueling 3-step DQN; with --num-workers, by Ray actors"),
    Preset(_APEX_DDPG, "prioritised 3-step DDPG; with --num-workers, by Ray actors"),
)
PRESETS: dict[str, Preset] = {preset.config.algorithm: preset for preset in _ALL}


def find_preset(name: str) -> Preset:
    """The preset of a name, or a configuration of a user's own.

    Args:
      name: Name in `PRESETS`, or "MODULE:CLASS" of a configuration that can be imported.

    Raises:
      ValueError: if there is none; the message has the nearest names.
    """
    if ":" in name:
        return _import_preset(name)
    if name not in PRESETS:
        raise ValueError(f"no algorithm {name!r}; {nearest(name, PRESETS)}")
    return PRESETS[name]


def _import_preset(name: str) -> Preset:
    module, _, attribute = name.partition(":")
    try:
        kind: Any = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a module of a user's may raise anything
        raise ValueError(
            f"no algorithm {name!r}: expected MODULE:CLASS of a configuration, which can be "
            f"imported; {type(error).__name__}: {error}"
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, Config)):
        raise ValueError(
            f"no algorithm {name!r}: expected a class that derives from OffPolicyConfig or "
            f"OnPolicyConfig, got {kind!r}"
        )
    make: Any = kind
    try:
        config = make(algorithm=name)
    except TypeError as error:
        raise ValueError(f"algorithm {name!r}: each setting needs a default; {error}") from error
    return Preset(config, (kind.__doc__ or name).splitlines()[0])


def name_of(config: Config) -> str:
    """The name by which `make_config` makes a configuration again: a preset's, or MODULE:CLASS."""
    name = config.algorithm
    if ":" in name or (name in PRESETS and type(PRESETS[name].config) is type(config)):
        return name
    return f"{type(config).__module__}:{type(config).__qualname__}"


def resolve(run: str | Config | type[Config]) -> Config:
    """The configuration to start from, of an algorithm's name, a configuration, or its class.

    Raises:
      ValueError: for an unknown name.
      TypeError: for anything else.
    """
    if isinstance(run, str):
        return find_preset(run).config
    make: Any = run
    config = make() if isinstance(run, type) else run
    check_config(config)
    return config


def check_config(config: Any) -> None:
    """Raises a TypeError unless this is a configuration."""
    if not isinstance(config, Config):
        raise TypeError(f"config: expected a configuration such as DqnConfig(), got {config!r}")


def make_config(name: str, values: Mapping[str, Any]) -> Any:
    """The configuration of an algorithm, with some of its defaults replaced.

    Args:
      name: Name of the algorithm.
      values: Settings by name, as they come from JSON.

    >>> make_config("DQN", {"hidden": [64, 64], "learning_rate": 1}).hidden
    (64, 64)

    Raises:
      ValueError: for an unknown key, naming the nearest ones, or a value of another type than the
        key's.
    """
    return with_values(find_preset(name).config, values)


def with_values(config: Any, values: Mapping[str, Any]) -> Any:
    """A configuration with other values of some settings; see `make_config`."""
    name = config.algorithm
    known = config.settings()
    for key in values:
        if key in ("num_workers", "num_gpus", "monitor"):
            raise ValueError(
                f"config of {name}: {key!r} is no setting of an algorithm; it is "
                f"--{key.replace('_', '-')} of `jax-agents train`, and in Python Trainer(..., "
                "runner='ray', num_workers=2), JAX_PLATFORMS or experiments.Monitor"
            )
        if key not in known:
            raise ValueError(f"config of {name}: no key {key!r}; {nearest(key, known)}")
    return dataclasses.replace(config, **values)  # checks them

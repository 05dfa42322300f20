"""The time that training loops on device take to compile.

Run `python benchmarks/compile.py` (about 2 minutes on two cores).

Each loop is traced and compiled in a fresh process, without a cache on disk: initialisation and
1,000 iterations in one `jit`. The aim is 10 s for each. The median of `--repeat` processes is
shown.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any


def loops() -> dict[str, Callable[[], Any]]:
    """Returns functions that make the loops to compile, by name."""
    import optax

    from jax_agents import agents, envs, learners, networks

    def ppo() -> Any:
        env = envs.classic.CartPole()
        network = networks.ActorValueNetwork(
            networks.ActorNetwork(env.specs.action), networks.ValueNetwork()
        )
        optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(2.5e-4))
        return learners.OnPolicyScan(
            agents.PpoAgent(env.specs, network, optimizer), env, num_envs=8
        )

    def dqn() -> Any:
        env = envs.classic.CartPole()
        agent = agents.DqnAgent(env.specs, networks.QNetwork(2, hidden=(100, 50)), optax.adam(1e-3))
        return learners.OffPolicyScan(agent, env)

    def prioritised_dqn() -> Any:
        env = envs.classic.CartPole()
        agent = agents.DqnAgent(
            env.specs, networks.QNetwork(2, dueling=True), optax.adam(1e-3), n_step=3
        )
        return learners.OffPolicyScan(agent, env, priority_exponent=0.6)

    def c51() -> Any:
        env = envs.classic.CartPole()
        network = networks.QNetwork(2, hidden=(120, 84), num_atoms=101)
        agent = agents.CategoricalDqnAgent(
            env.specs, network, optax.adam(2.5e-4), v_min=-100.0, v_max=100.0
        )
        return learners.OffPolicyScan(agent, env)

    def sac() -> Any:
        env = envs.classic.Pendulum()
        actor = networks.TanhNormalActor(env.specs.action, (256, 256))
        critic = networks.CriticNetwork((256, 256))
        return learners.OffPolicyScan(
            agents.SacAgent(env.specs, actor, critic, optax.adam(3e-4)), env, batch_size=256
        )

    return {
        "PPO": ppo,
        "DQN": dqn,
        "DQN, prioritised, dueling, 3-step": prioritised_dqn,
        "C51": c51,
        "SAC": sac,
    }


def measure(name: str) -> dict[str, float]:
    """Seconds of tracing and of compiling the loop of that name, in this process."""
    import jax

    loop = loops()[name]()
    train = jax.jit(lambda key: loop.run(loop.init(key), 1_000))
    jax.jit(lambda x: x + 1)(0).block_until_ready()  # the compiler's own start is not the loop's
    start = time.perf_counter()
    lowered = train.lower(jax.random.key(0))
    traced = time.perf_counter()
    lowered.compile()
    return {"trace": traced - start, "compile": time.perf_counter() - traced}


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--repeat", type=int, default=3, help="processes for each loop")
    options.add_argument("--one", help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one)))
        return
    import jax

    print(
        f"JAX {jax.__version__}\n\n| loop | traced in s | compiled in s | both |\n|---|---|---|---|"
    )
    for name in loops():
        command = [sys.executable, __file__, "--one", name]
        runs = [
            subprocess.run(command, check=True, capture_output=True, text=True)
            for _ in range(arguments.repeat)
        ]
        seconds = [json.loads(run.stdout.splitlines()[-1]) for run in runs]
        both = statistics.median(s["trace"] + s["compile"] for s in seconds)
        parts = (statistics.median(s[part] for s in seconds) for part in ("trace", "compile"))
        print(
            f"| {name} | {' | '.join(f'{part:.1f}' for part in parts)} | {both:.1f} |", flush=True
        )


if __name__ == "__main__":
    main()

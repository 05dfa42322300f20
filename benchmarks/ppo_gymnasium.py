"""PPO in a Python loop over gymnasium beside Stable-Baselines3's, in one run.

It takes about a minute, once installed.

8 CartPole-v1 environments in one process, 128 rows of each between updates, 4 epochs of 4
minibatches of 256, two networks of 64-64 with tanh, Adam with its gradient's norm clipped.
Environment steps per second are counted; our boundary rows, one an episode, are not. `beside.py`
says how it is measured. Run it by the interpreter that has `jax-agents`; its JAX is measured.
"""

from beside import Environment, Pair, main, parser

PAIRS = [
    Pair(
        "Python loop, gymnasium",
        "ppo_loop.py",
        None,
        "sb3_ppo.py",
        Environment(
            "sb3", ["3.11"], ["stable-baselines3==2.9.2", "torch==2.13.0", "gymnasium==1.4.0"]
        ),
        target=2.0,
    ),
]


if __name__ == "__main__":
    main(PAIRS, parser(__doc__, PAIRS).parse_args(), "Environment steps")

"""DQN beside other libraries, in one run.

Run `python benchmarks/dqn.py` (about 10 minutes the first time, then 4).

An iteration is one CartPole-v1 step and one update on a batch of 64, network 100-50-2, Adam, a
replay of 100,000. Each library runs in an environment of its own under `--cache-dir`, made from the
pins below. For each pair both programs are warmed up, then take turns, one window each, so that a
drift of the machine's speed meets both; the ratio is taken round by round. Peers are set up as
their authors do, at the faster of the settings that we tried (see `peers/*.py`).

Run it by the Python 3.11 that has `jax-agents[reverb]` (`uv run python benchmarks/dqn.py`), and
with Python 3.12 or later somewhere on the machine: the on-device pair is measured on the newest
JAX.
"""

from beside import NEW_PYTHONS, NEWEST_JAX, OURS_NEWEST, Environment, Pair, main, parser

PAIRS = [
    Pair(
        "Python loop, Reverb",
        "reverb_loop.py",
        None,
        "tf_agents.py",
        Environment(
            "tf-agents",
            ["3.11"],
            ["tf-agents==0.19.0", "tensorflow-cpu==2.15.1", "dm-reverb==0.14.0"],
        ),
        target=5.0,
    ),
    Pair(
        "Python loop, in-process replay",
        "host_loop.py",
        None,
        "sb3.py",
        Environment(
            "sb3", ["3.11"], ["stable-baselines3==2.9.2", "torch==2.13.0", "gymnasium==1.4.0"]
        ),
        target=4.0,
    ),
    Pair(
        "Python loop, in-process replay",
        "host_loop.py",
        None,
        "sbx.py",
        Environment(
            "sbx",
            ["3.11"],
            [
                "sbx-rl==0.28.0",
                "stable-baselines3==2.9.2",
                "torch==2.13.0",
                "jax==0.10.2",
                "gymnasium==1.4.0",
            ],
        ),
        target=4.0,
    ),
    Pair(
        "on device",
        "on_device.py",
        OURS_NEWEST,
        "rejax.py",
        # gymnax 1.0 breaks rejax 0.1.3
        Environment("rejax", NEW_PYTHONS, ["rejax==0.1.3", "gymnax==0.0.9", *NEWEST_JAX]),
        target=5.0,
    ),
]


if __name__ == "__main__":
    main(PAIRS, parser(__doc__, PAIRS).parse_args(), "Iterations")

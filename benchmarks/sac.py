"""SAC on Pendulum-v1 beside other libraries, in one run.

Run `python benchmarks/sac.py` (about 3 minutes, installed).

An iteration is one environment step and one update on a batch of 256. In the Python loop, over
gymnasium: networks of 256-256 with ReLU, as in Stable-Baselines3. On device: rejax's configuration
of Pendulum-v1, 64-64 with swish, observations as they are. `beside.py` says how it is measured.
Both sides have the same JAX: the newest on device, 0.10 in the Python loop, since SBX 0.28 asks for
less than 0.12.
"""

from beside import NEW_PYTHONS, NEWEST_JAX, OURS_NEWEST, Environment, Pair, main, parser

# as in dqn.py
SBX = [
    "sbx-rl==0.28.0",
    "stable-baselines3==2.9.2",
    "torch==2.13.0",
    "jax==0.10.2",
    "gymnasium==1.4.0",
]
OURS = [
    "jax==0.10.2",
    "jaxlib==0.10.2",
    "flax==0.12.8",
    "optax==0.2.8",
    "chex==0.1.91",
    "gymnasium==1.4.0",
]
PAIRS = [
    Pair(
        "Python loop, in-process replay",
        "sac_loop.py",
        Environment("ours-0.10", ["3.11"], OURS, ours=True),
        "sbx_sac.py",
        Environment("sbx", ["3.11"], SBX),
        target=1.3,
    ),
    Pair(
        "on device",
        "sac_on_device.py",
        OURS_NEWEST,
        "rejax_sac.py",
        # gymnax 1.0 breaks rejax 0.1.3
        Environment("rejax", NEW_PYTHONS, ["rejax==0.1.3", "gymnax==0.0.9", *NEWEST_JAX]),
        target=1.2,
    ),
]


if __name__ == "__main__":
    main(PAIRS, parser(__doc__, PAIRS).parse_args(), "Iterations")

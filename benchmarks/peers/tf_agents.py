"""TF-Agents' DQN tutorial loop.

It has a PyDriver, a Reverb table in the same process, and a compiled `agent.train`.
"""

import os
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

NAME = "TF-Agents"
PACKAGES = ["tf-agents", "tensorflow-cpu", "dm-reverb", "gym"]


def setup() -> Callable[[int], int]:
    import reverb
    import tensorflow as tf
    from tf_agents.agents.dqn import dqn_agent
    from tf_agents.drivers import py_driver
    from tf_agents.environments import suite_gym, tf_py_environment
    from tf_agents.networks import sequential
    from tf_agents.policies import py_tf_eager_policy, random_tf_policy
    from tf_agents.replay_buffers import reverb_replay_buffer, reverb_utils
    from tf_agents.specs import tensor_spec
    from tf_agents.utils import common

    # measured: as fast as the default when idle, faster when busy
    tf.config.threading.set_intra_op_parallelism_threads(1)
    env = suite_gym.load("CartPole-v1")
    tf_env = tf_py_environment.TFPyEnvironment(suite_gym.load("CartPole-v1"))

    def dense(units):
        init = tf.keras.initializers.VarianceScaling(
            scale=2.0, mode="fan_in", distribution="truncated_normal"
        )
        return tf.keras.layers.Dense(units, activation="relu", kernel_initializer=init)

    q_values = tf.keras.layers.Dense(
        2, kernel_initializer=tf.keras.initializers.RandomUniform(-0.03, 0.03)
    )
    agent = dqn_agent.DqnAgent(
        tf_env.time_step_spec(),
        tf_env.action_spec(),
        q_network=sequential.Sequential([dense(100), dense(50), q_values]),
        optimizer=tf.keras.optimizers.Adam(learning_rate=1e-3),
        td_errors_loss_fn=common.element_wise_squared_loss,
        train_step_counter=tf.Variable(0),
    )
    agent.initialize()
    agent.train = common.function(agent.train)

    signature = tensor_spec.add_outer_dim(tensor_spec.from_spec(agent.collect_data_spec))
    table = reverb.Table(
        "uniform_table",
        max_size=100_000,
        sampler=reverb.selectors.Uniform(),
        remover=reverb.selectors.Fifo(),
        rate_limiter=reverb.rate_limiters.MinSize(1),
        signature=signature,
    )
    server = reverb.Server([table])
    buffer = reverb_replay_buffer.ReverbReplayBuffer(
        agent.collect_data_spec, table_name="uniform_table", sequence_length=2, local_server=server
    )
    observer = reverb_utils.ReverbAddTrajectoryObserver(
        buffer.py_client, "uniform_table", sequence_length=2
    )
    random_policy = random_tf_policy.RandomTFPolicy(tf_env.time_step_spec(), tf_env.action_spec())

    def driver(policy, steps):
        eager = py_tf_eager_policy.PyTFEagerPolicy(policy, use_tf_function=True)
        return py_driver.PyDriver(env, eager, [observer], max_steps=steps)

    driver(random_policy, 1000).run(env.reset())
    samples = iter(
        buffer.as_dataset(num_parallel_calls=3, sample_batch_size=64, num_steps=2).prefetch(3)
    )
    collect = driver(agent.collect_policy, 1)
    time_step = env.reset()

    def run(iterations: int) -> int:
        nonlocal time_step
        for _ in range(iterations):
            time_step, _ = collect.run(time_step)
            experience, _ = next(samples)
            loss = agent.train(experience).loss
        float(loss)
        return iterations

    return run

import jax
import numpy as np
import pytest

from jax_agents.envs import classic, gym
from jax_agents.envs.types import StepType, Trajectory
from jax_agents.experiments import ReinforceConfig, Trainer, load_rows, save_rows
from jax_agents.experiments.data.controllers import balance_pole
from jax_agents.experiments.data.demonstrations import demonstrations
from jax_agents.experiments.trained import run_folder


@pytest.fixture(scope="module")
def rows():
    """400 rows of CartPole's controller."""
    return demonstrations("controller", classic.CartPole(), 400)


def test_a_controllers_rows(rows):
    assert rows.observation.shape == (400, 1, 4)
    np.testing.assert_array_equal(rows.action, balance_pole(rows.observation))
    assert not (rows.next_step_type == StepType.LAST).any()  # no pole falls in 20 steps
    with pytest.raises(ValueError, match="there are controllers of CartPole and Pendulum alone"):
        demonstrations("controller", classic.Acrobot(), 400)


def test_rows_in_a_file(rows, tmp_path):
    path = save_rows(tmp_path / "rows.npz", rows)
    # all of them, whatever is asked for
    read = demonstrations(str(path), gym.make("CartPole-v1"), 7)
    jax.tree.map(np.testing.assert_array_equal, read, rows._replace(policy_info=()))
    with pytest.raises(ValueError, match=r"observation: expected .*\[3\]"):
        demonstrations(str(path), classic.Pendulum(), 7)
    with pytest.raises(ValueError, match=r"ends in \.npz"):
        save_rows(tmp_path / "rows.pkl", rows)
    np.savez(path, observation=np.zeros((3, 4)))
    with pytest.raises(
        ValueError,
        match=r"expected arrays called step_type, observation, action, .*reward, discount missing",
    ):
        load_rows(path, classic.CartPole().specs)
    path.write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match=r"no \.npz file that could be read"):
        load_rows(path, classic.CartPole().specs)
    with pytest.raises(ValueError, match="got 'nowhere', which is none"):
        demonstrations("nowhere", classic.CartPole(), 7)


def test_rows_of_a_trained_agent(tmp_path):
    config = ReinforceConfig(hidden=(4,), num_envs=2, num_rows=8, iterations_per_report=1)
    folder = tmp_path / "run"
    trainer = Trainer(config, "CartPole-v1", run_folder=folder, seed=1)
    trainer.train()
    path = trainer.save()
    params = {
        "run": "PG",
        "env": "CartPole-v1",
        "seed": 1,
        "runner": "loop",
        "replay": "none",
        "config": config.settings(),
    }
    run_folder.write_params(folder, params)
    env = gym.make("CartPole-v1")
    for where in (folder, path):
        rows = demonstrations(str(where), env, 50)
        # three of each of 20 environments
        assert isinstance(rows, Trajectory) and rows.step_type.shape == (
            60,
            1,
        )
    acted = np.asarray(rows.step_type[:, 0] != StepType.LAST)
    greedy = [
        int(trainer.compute_action(observation)) for observation in rows.observation[acted, 0]
    ]
    assert rows.action[acted, 0].tolist() == greedy
    trainer.close()

"""What four documents let their users do with other libraries: where each of their lines is tested,
and tests of the others.
"""

import ast
import dataclasses
import sys
from pathlib import Path

import flax.linen as nn
import gymnasium
import jax
import numpy as np
import optax
import pytest

from jax_agents.experiments import PRESETS, DqnConfig, PpoConfig, Trainer, pretty_print

TESTS = Path(__file__).parents[1]
EXPERIMENTS = "experiments/"
SERVING = "serving/test_"
PARAMETERS = "experiments/trained/test_introspection.py::"
POLICY = "experiments/trained/test_policy.py::"
TRAINER = "experiments/training/test_trainer.py::"
ACTORS = "experiments/runners/test_actors.py::"

# The guide to the training API: configurations, training, Tune, acting, state, preprocessing and
# introspection.
GUIDE = {
    "a default configuration is copied and changed": "here::test_defaults_are_not_shared",
    "a trainer of a configuration and a name": "here::test_a_guides_way_through_a_trainer",
    "train gives a result dict": "here::test_a_guides_way_through_a_trainer",
    "pretty_print": EXPERIMENTS
    + "training/test_pretty.py::test_none_is_left_out_and_nested_dicts_are_indented",
    "save gives the path, restore goes on": "here::test_a_guides_way_through_a_trainer",
    "weights from outside, by name": POLICY + "test_a_trainers_weights",
    "num_workers in processes of their own": ACTORS + "test_a_trainer_on_actors",
    "num_workers 0 is in process": "here::test_num_workers_0_is_this_process",
    "a run by its name, and a stop": EXPERIMENTS
    + "sweeps/test_sweep.py::test_experiments_by_name_one_trial_after_the_other",
    "grid search": EXPERIMENTS
    + "sweeps/test_sweep.py::test_trials_in_step_compute_what_each_would_alone",
    "trials in parallel under Tune": EXPERIMENTS
    + "sweeps/test_tune.py::test_a_grid_and_draws_under_ray",
    "an analysis": EXPERIMENTS
    + "sweeps/test_sweep.py::"
    + "test_a_sweep_is_loaded_from_its_folder_and_does_not_write_into_another",
    "a class in place of a name": EXPERIMENTS
    + "configs/test_presets.py::"
    + "test_an_algorithm_by_its_name_its_configuration_or_the_class_of_one",
    "checkpoint_at_end, and the best trial's checkpoints": EXPERIMENTS
    + "sweeps/test_sweep.py::test_trials_in_step_stop_and_are_saved_each_for_itself",
    "an agent again from a trial, and in words": TRAINER + "test_a_trainer_in_words",
    "compute_action of a raw observation": POLICY
    + "test_a_trainers_actions_are_those_of_evaluation",
    "weights of the policy": POLICY + "test_a_trainers_weights",
    "the local worker": TRAINER + "test_workers",
    "each worker, with index; when weights reach those in other processes": ACTORS
    + "test_each_worker_has_weights_of_its_own",
    "a model that is trained by itself": "here::test_a_network_is_trained_by_itself_and_put_back",
    "preprocessors": "envs/test_preprocessing.py::test_tuples_and_dicts_become_one_vector",
    "one-hot": "envs/test_preprocessing.py::test_discrete_spaces_become_one_hot_codes",
    "Atari's 84 x 84": "envs/test_preprocessing.py::test_atari_images_become_84_by_84",
    "the same preprocessing by hand": EXPERIMENTS
    + "trained/test_environments.py::"
    + "test_a_dict_with_a_tuple_is_one_vector_in_training_evaluation_and_acting",
    "logits, sample and log-probability of a batch": PARAMETERS + "test_distribution_of_a_batch",
    "values": PARAMETERS + "test_distribution_of_a_batch",
    "134,915; 67,329; 66,306 and 66,049 parameters": PARAMETERS
    + "test_parameter_counts_are_the_seeds",
    "Q-values, state values and advantages": PARAMETERS + "test_q_values_and_dueling_heads",
    "atoms": PARAMETERS + "test_distributions_of_returns_have_the_values_as_means",
}
# The page of the 0.5 era: the command line, Python, state, customisation and serving.
PAGE = {
    "train --run --env, its folder and files": "cli/test_run.py::"
    + "test_a_whole_run_and_what_can_be_done_with_it",
    "--help": "cli/test_cli.py::test_help_has_examples",
    "the ten names": "here::test_the_names_of_old_are_there",
    "an environment of one's own by name": "here::"
    + "test_an_environment_of_ones_own_is_named_with_its_module",
    "--config, and unknown keys": "cli/test_errors.py::"
    + "test_a_users_mistake_is_one_clear_line_and_makes_no_folder",
    "num_workers": ACTORS + "test_a_trainer_on_actors",
    "num_gpus, and a part of one": "cli/test_run.py::test_a_gpu_or_a_part_of_its_memory",
    "monitor": "cli/test_train.py::test_several_seeds_are_summed_up_plotted_and_resumed",
    "--checkpoint-freq": "cli/test_run.py::test_a_whole_run_and_what_can_be_done_with_it",
    "rollout": "cli/test_run.py::test_a_whole_run_and_what_can_be_done_with_it",
    "-f, with grid search": "cli/test_train.py::test_a_tuned_file_trains_its_variants",
    "each evaluator, with index": ACTORS + "test_each_worker_has_weights_of_its_own",
    "run_experiments": EXPERIMENTS
    + "sweeps/test_sweep.py::test_experiments_by_name_one_trial_after_the_other",
    "preprocessors of one's own": EXPERIMENTS
    + "trained/test_environments.py::"
    + "test_a_preprocessor_of_ones_own_is_a_wrapper_in_the_function_that_makes_the_environment",
    "a model of one's own": "here::test_a_network_of_ones_own",
    "an episode over REST": SERVING + "app.py::test_an_episode_by_hand",
    "log_action": SERVING + "service.py::test_what_clients_do_is_learned_from",
    "a served policy that learns": SERVING + "client.py::test_a_dqn_learns_from_its_clients",
}
STATEFUL, GROUP, PARALLEL = (
    "learners/test_stateful.py::",
    "learners/test_group.py::",
    "drivers/test_parallel.py::",
)
# The guide to learners and groups of them.
LEARNERS = {
    "gradients, and updates that are none": STATEFUL
    + "test_gradients_and_what_is_no_gradient_are_both_part_of_an_update",
    "equal learners, each with its part of the batch": GROUP
    + "test_20_updates_of_plain_sgd_agree_whatever_the_number_of_learners",
    "states stay identical": GROUP + "test_the_learners_stay_bitwise_equal_and_hooks_run_in_each",
    "CPUs and GPUs of each": GROUP + "test_learners_that_there_is_no_room_for",
    "a part of a GPU": "drivers/test_ray_runtime.py::"
    + "test_learners_without_a_gpu_see_none_and_those_that_share_one_share_its_memory",
    "a learner of its own, ready at once": STATEFUL
    + "test_a_learner_is_ready_when_it_is_constructed_and_updates_as_its_agent_does",
    "settings of the loss": EXPERIMENTS
    + "configs/test_policy_gradient.py::test_ppo_is_what_the_configuration_says",
    "update, with time steps": GROUP + "test_what_it_is_told_is_checked",
    "results of earlier updates": GROUP
    + "test_asynchronous_updates_return_earlier_results_and_count_drops",
    "before and after each update": STATEFUL
    + "test_hooks_run_around_each_update_and_may_change_the_state",
    "state and weights of all learners": GROUP + "test_state_and_weights_reach_all_learners",
    "components, as NumPy": STATEFUL + "test_the_state_comes_out_as_numpy_and_goes_in_by_component",
    "weights without the optimizer": STATEFUL + "test_weights_go_in_alone_and_their_targets_follow",
    "files of a group": GROUP + "test_files_of_two_learners_fit_any_number_of_them",
    "files of a learner": STATEFUL
    + "test_files_hold_weights_and_optimizer_and_fit_a_learner_of_the_same_kind_only",
    "a learner that clones": "test_doctests.py::test_examples",  # of learners/stateful.py
    "faults, and going on from a file": GROUP
    + "test_a_killed_learner_is_reported_and_another_group_goes_on_from_the_file",
}
# SAC in five parts on Ray.
SAC = {
    "five parts, in numbers of one's choice": "examples/test_examples.py::test_on_actors",
    "a ring of rows": "replay/host/test_replay.py::test_random_streams_against_a_naive_model",
    "push copies": "drivers/test_parameter_server.py::"
    + "test_what_is_published_is_a_copy_that_donation_does_not_touch",
    "weights on disk, and from there": "drivers/test_parameter_server.py::"
    + "test_a_snapshot_is_restored_and_a_learner_may_resume_from_before_it",
    "weights set, and the target network's with them": STATEFUL
    + "test_weights_go_in_alone_and_their_targets_follow",
    "random actions first": "drivers/test_collector.py::"
    "test_random_actions_at_first_and_parameters_for_one_actor",
    "newest weights, a slice at a time": PARALLEL + "test_staleness_is_reported_and_bounded",
    "a test worker": "examples/test_examples.py::test_in_this_process",
    "a ratio of steps and updates that holds": ACTORS
    + "test_an_off_policy_agent_keeps_its_ratio_and_goes_on",
    "several replay servers": "replay/remote/test_replay.py::"
    + "test_several_servers_are_sampled_as_one",
    "buffer and weights saved, and going on": "examples/test_examples.py::"
    + "test_sac_goes_on_from_what_it_saved",
}
TINY = DqnConfig(
    hidden=(8,), warmup_steps=40, batch_size=4, steps_per_report=80, replay_capacity=200
)


def test_each_line_has_its_test():
    for line, where in (GUIDE | PAGE | LEARNERS | SAC).items():
        file, _, name = where.partition("::")
        tree = ast.parse((Path(__file__) if file == "here" else TESTS / file).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, (
            f"{line}: no {where}"
        )


def test_defaults_are_not_shared():
    mine = dataclasses.replace(PRESETS["PPO"].config, learning_rate=0.5)
    assert mine.learning_rate == 0.5 and PRESETS["PPO"].config == PpoConfig() != mine
    with pytest.raises(dataclasses.FrozenInstanceError):
        PRESETS["PPO"].config.learning_rate = 0.5


def test_the_names_of_old_are_there():
    assert {
        "PPO",
        "PG",
        "A2C",
        "A3C",
        "IMPALA",
        "ES",
        "DDPG",
        "DQN",
        "APEX",
        "APEX_DDPG",
    } <= PRESETS.keys()


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    trainer = Trainer(TINY, "CartPole-v1", replay="host", run_folder=tmp_path_factory.mktemp("run"))
    yield trainer
    trainer.close()


def test_a_guides_way_through_a_trainer(trainer):
    result = trainer.train()
    assert f"num_env_steps_sampled_lifetime: {TINY.steps_per_report}" in pretty_print(result)
    path = trainer.save()
    again = Trainer(TINY, "CartPole-v1", replay="host")  # no folder of its own
    again.restore(str(path))
    assert again.training_iteration == 1 and (again.evaluate(2) == trainer.evaluate(2)).all()
    assert again.train()["training_iteration"] == 2
    again.restore(str(path))  # in the middle of training, too
    assert again.training_iteration == 1 and (again.evaluate(2) == trainer.evaluate(2)).all()
    assert path.is_dir() and trainer.checkpointer.steps() == [1]
    again.close()


def test_a_network_is_trained_by_itself_and_put_back(trainer):
    network, weights = trainer.agent.network, trainer.get_policy().get_weights()
    observations, targets = np.eye(4, dtype=np.float32), np.float32([[3.0, -3.0]] * 4)
    loss = lambda q: ((network.apply(q, observations) - targets) ** 2).mean()
    optimizer = optax.adam(0.05)

    @jax.jit
    def fit(q):
        def update(carry, _):
            changes, moments = optimizer.update(jax.grad(loss)(carry[0]), carry[1])
            return (optax.apply_updates(carry[0], changes), moments), None

        return jax.lax.scan(update, (q, optimizer.init(q)), length=200)[0][0]

    trainer.get_policy().set_weights({"q": fit(weights["q"])})
    np.testing.assert_allclose(trainer.get_policy().q_values(observations), targets, atol=0.5)
    assert [trainer.compute_action(observation) for observation in observations] == [0] * 4


class Linear(nn.Module):
    """Q-values without a hidden layer."""

    @nn.compact
    def __call__(self, observation):
        return nn.Dense(2)(observation)


def test_a_network_of_ones_own():
    make = lambda config, specs: dataclasses.replace(config.agent(specs), network=Linear())
    trainer = Trainer(TINY, "CartPole-v1", replay="host", make_agent=make)
    assert trainer.train()["loss"] is not None
    assert (
        sum(leaf.size for leaf in jax.tree.leaves(trainer.get_policy().get_weights())) == 4 * 2 + 2
    )
    trainer.close()


def test_an_environment_of_ones_own_is_named_with_its_module(tmp_path, monkeypatch):
    entry = "gymnasium.envs.classic_control:CartPoleEnv"
    source = f"import gymnasium\ngymnasium.register('Mine-v0', '{entry}', max_episode_steps=7)"
    (tmp_path / "my_games.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    trainer = Trainer(TINY, "my_games:Mine-v0", replay="host")
    assert trainer.evaluate(2).tolist() == [7, 7]
    trainer.close()
    del sys.modules["my_games"], gymnasium.registry["Mine-v0"]


def test_num_workers_0_is_this_process(monkeypatch, tmp_path):
    from jax_agents import cli
    from jax_agents.cli import run

    jobs = []
    monkeypatch.setattr(run, "run_job", lambda job, **_: jobs.append(job) or 0)
    argv = [
        "train",
        "--run",
        "DQN",
        "--env",
        "CartPole-v1",
        "--config",
        '{"num_workers": 0, "gamma": 0.9}',
    ]
    assert cli.main([*argv, "--out", str(tmp_path)]) == 0
    assert jobs[0].runner == "loop" and jobs[0].config.gamma == 0.9

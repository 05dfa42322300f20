import csv
import io
import struct
from types import SimpleNamespace

import pytest

from jax_agents import envs
from jax_agents.evaluation import create_policy_eval_video
from jax_agents.experiments.trained import run_folder
from jax_agents.experiments.training.callbacks import (
    Console,
    CsvReports,
    JsonReports,
    Monitor,
    TensorBoard,
)
from jax_agents.policies import RandomPolicy


def trainer(iteration=0, steps=0, result=None):
    return SimpleNamespace(training_iteration=iteration, num_steps=steps, result=result)


def report(i, **more):
    base = {
        "training_iteration": i,
        "num_env_steps_sampled_lifetime": 100 * i,
        "steps_per_second": 1234.5,
        "timestamp": 1.0,
    }
    return (
        base
        | {"episode_return_mean": None if i == 1 else 10.0 * i, "loss": None if i == 1 else 0.25}
        | more
    )


def test_json_and_csv_follow_the_reports_and_are_cut_back_on_a_resume(tmp_path):
    callbacks = (JsonReports(tmp_path), CsvReports(tmp_path))
    for callback in callbacks:
        callback.on_start(trainer())
    reports = [report(1), report(2, q=3.0), report(3, q=4.0)]
    for one in reports:
        for callback in callbacks:
            callback.on_report(trainer(), one)
    assert run_folder.read_results(tmp_path) == reports

    def table():
        with open(tmp_path / "progress.csv", newline="") as file:
            return [(row["training_iteration"], row["q"]) for row in csv.DictReader(file)]

    assert table() == [("1", ""), ("2", "3.0"), ("3", "4.0")]
    for callback in callbacks:
        callback.on_start(trainer(iteration=2))
    assert run_folder.read_results(tmp_path) == reports[:2]
    for callback in callbacks:
        callback.on_report(trainer(), report(3, q=5.0))
    assert table() == [("1", ""), ("2", "3.0"), ("3", "5.0")]


def events(folder):
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.glob("events.*")):
        data = path.read_bytes()
        while data:  # a record: length, its check sum, the event, its check sum
            (size,) = struct.unpack("<Q", data[:8])
            found.append(Event.FromString(data[12 : 12 + size]))
            data = data[16 + size :]
    return found


def test_tensorboard_gets_the_numbers_against_environment_steps(tmp_path):
    callback = TensorBoard(tmp_path)
    callback.on_start(trainer())
    callback.on_report(trainer(), report(1))
    callback.on_report(trainer(), report(2))
    callback.on_end(trainer())
    callback.on_end(trainer())
    scalars = {(e.step, v.tag): v.simple_value for e in events(tmp_path) for v in e.summary.value}
    assert scalars[200, "episode_return_mean"] == 20.0
    assert scalars[200, "loss"] == 0.25
    assert (100, "loss") not in scalars and (100, "timestamp") not in scalars


def test_a_resumed_run_purges_the_events_that_it_makes_again(tmp_path):
    callback = TensorBoard(tmp_path)
    callback.on_start(trainer(2, 200, report(2)))
    callback.on_end(trainer())
    starts = [event.step for event in events(tmp_path) if event.session_log.status == 1]
    assert starts == [201]


def test_plain_lines_where_there_is_no_terminal():
    file = io.StringIO()
    console = Console(1000, seconds=0.0, file=file)
    console.on_start(trainer())
    for i in (1, 2):
        console.on_progress(trainer(steps=100 * i))
        console.on_report(trainer(), report(i))
    console.on_end(trainer())
    first, second = file.getvalue().splitlines()
    assert first.split() == ["100", "steps", "1,234", "steps/s", "return", "-", "loss", "-"]
    assert second.split() == [
        "200",
        "steps",
        "1,234",
        "steps/s",
        "return",
        "20.0",
        "loss",
        "0.2500",
    ]


def test_lines_are_not_more_frequent_than_asked():
    file = io.StringIO()
    console = Console(1000, seconds=3600, file=file)
    for i in (1, 2, 3):
        console.on_report(trainer(), report(i))
    assert len(file.getvalue().splitlines()) == 1


def test_a_terminal_gets_a_bar_with_steps_per_second_return_and_loss():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    file = Terminal()
    console = Console(1000, file=file)
    console.on_start(trainer())
    console.on_report(trainer(steps=200), report(2))
    console.on_end(trainer())
    for text in ("200/1000", "1,234 steps/s", "return 20.0", "loss 0.2500"):
        assert text in file.getvalue()


@pytest.mark.filterwarnings("ignore:.*without specifying any render mode")
def test_an_environment_without_pictures_is_not_filmed_and_training_goes_on(tmp_path, capsys):
    env = envs.gym.make("CartPole-v1", render_mode=None)
    blind = SimpleNamespace(
        video=lambda path: create_policy_eval_video(env, RandomPolicy(env.specs.action), path)
    )
    Monitor(tmp_path).on_checkpoint(blind, tmp_path / "checkpoint_00000001")
    assert "no video: render: the environment was made without pictures" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.mp4"))

"""What a group leaves behind when its script ends, fails, is interrupted or is killed: nothing."""

import os
import signal
import subprocess
import sys

import pytest

SCRIPT = """
import os, signal, sys, time
import jax, optax, ray
from jax_agents import agents, learners, networks
from jax_agents.envs.specs import ArraySpec, DiscreteSpec, EnvironmentSpecs

def make():
    specs = EnvironmentSpecs(ArraySpec((3,)), DiscreteSpec(2))
    agent = agents.DqnAgent(specs, networks.QNetwork(2, (8,)), optax.sgd(0.1))
    return learners.StatefulLearner(agent, key=jax.random.key(0))

options = {"num_cpus": 2, "object_store_memory": 100_000_000}
ray.init(address="local", include_dashboard=False, log_to_driver=False, **options)
group = learners.LearnerGroup(make, 2)
print(*group.foreach_learner(lambda learner: os.getpid()), flush=True)
if sys.argv[1] == "fails":
    raise SystemExit(3)
if sys.argv[1] != "ends":
    time.sleep(600)
"""


@pytest.mark.nightly
@pytest.mark.parametrize("how", ["ends", "fails", "interrupted", "killed"])
def test_no_learner_outlives_its_script(how, tmp_path, gone):
    script = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, how], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    pids = [int(pid) for pid in script.stdout.readline().split()]
    assert len(pids) == 2
    if how in ("interrupted", "killed"):
        for pid in pids:
            os.kill(pid, 0)  # they are there
        script.send_signal(signal.SIGINT if how == "interrupted" else signal.SIGKILL)
    status = script.wait(60)
    assert status == {"ends": 0, "fails": 3, "killed": -signal.SIGKILL}.get(how, status) and (
        status != 0 or how == "ends"
    )
    assert gone(pids)

"""Buffers that are still open when a program ends."""

import subprocess
import sys

PROGRAM = """
from jax_agents.replay.closing import close_at_exit

class Buffer:
    def __init__(self, name):
        self.name = name
        close_at_exit(self)

    def close(self):
        print("closed", self.name)

kept = Buffer("a")
dropped = Buffer("b")
del dropped
print("the end")
"""


def test_what_is_still_in_use_is_closed_when_the_program_ends():
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=True
    )
    assert result.stdout.splitlines() == ["the end", "closed a"]

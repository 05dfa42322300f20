"""Importing Reverb, and keeping it quiet."""

import os
import sys

import pytest

from jax_agents.replay import has_reverb
from jax_agents.replay.reverb import runtime as reverb_runtime

pytestmark = pytest.mark.skipif(not has_reverb(), reason="Reverb is not installed")


def test_without_reverb_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "reverb", None)
    with pytest.raises(ImportError, match=r'pip install "jax-agents\[reverb\]"'):
        reverb_runtime.import_reverb.__wrapped__()


def test_only_routine_lines_are_kept_from_stderr(capfd):
    with reverb_runtime.quiet():
        os.write(
            2,
            b"[reverb/cc/server.cc:71] Started replay server on port 1\n"
            b"[reverb/cc/server.cc:9] Out of memory\nmine\n",
        )
    assert capfd.readouterr().err == "[reverb/cc/server.cc:9] Out of memory\nmine\n"

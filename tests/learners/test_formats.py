"""The stamp of what is written, and the refusal of others."""

import pytest

from jax_agents import __version__
from jax_agents.learners.formats import FORMAT, STAMP, FormatError, check_format


def test_our_own_stamp_is_read():
    check_format("file", STAMP)
    assert STAMP["format"] == FORMAT and STAMP["version"] == __version__


@pytest.mark.parametrize(
    ("stamp", "words"),
    [
        ({"format": FORMAT + 1, "version": "9.9"}, f"format {FORMAT + 1}.*jax_agents 9.9 wrote"),
        ({}, "format 0.*before formats had numbers"),
        (None, "format 0"),
    ],
)
def test_others_are_refused_in_one_line(stamp, words):
    with pytest.raises(FormatError, match=words) as error:
        check_format("runs/a", stamp)
    assert str(error.value).startswith("runs/a has format") and "\n" not in str(error.value)

"""Connections to servers here and elsewhere, and the tables on them."""

import numpy as np
import pytest

from jax_agents.replay import has_reverb

pytestmark = pytest.mark.skipif(not has_reverb(), reason="Reverb is not installed")

COLUMNS = {"a": ((2,), np.dtype(np.float32))}


def test_a_server_here_and_a_connection_to_it(tmp_path):
    from jax_agents.replay.reverb import connection

    signature = connection.make_signature(COLUMNS, 3)
    assert signature["a"].shape.as_list() == [3, 2] and signature["a"].name == "a"
    table = connection.make_table("t", 5, 2, 0.5, signature)
    folder = tmp_path / "server"
    folder.mkdir()
    here = connection.start(table, folder)
    there = connection.connect(here.address)
    assert here.owns_server and not there.owns_server
    for one in (here, there):
        info = one.table_info("t", 5.0)
        assert (info.max_size, info.rate_limiter_info.min_size_to_sample) == (5, 2)
        assert info.sampler_options.prioritized.priority_exponent == 0.5
        assert info.signature == signature
    with pytest.raises(ValueError, match=r"no table 'other', only \['t'\]"):
        there.table_info("other", 5.0)
    there.stop()  # which is not this one's
    here.table_info("t", 5.0)
    here.stop()
    assert not folder.exists()
    with pytest.raises(ConnectionError, match="no Reverb server answers at localhost"):
        there.table_info("t", 1.0)


def test_a_uniform_table_has_no_exponent(tmp_path):
    from jax_agents.replay.reverb import connection

    here = connection.start(connection.make_table("t", 5, 1, None), tmp_path)
    info = here.table_info("t", 5.0)
    assert info.sampler_options.HasField("uniform") and info.signature is None
    here.stop()

"""The settings that buffers share, and the arguments of their datasets."""

import jax
import numpy as np
import pytest

from jax_agents.replay.buffer import BufferSettings, WindowBuffer

GOOD = {
    "capacity": 10,
    "sequence_length": 2,
    "stride": 1,
    "priority_exponent": None,
    "min_size": 1,
    "timeout": 1.0,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"capacity": 0}, "capacity must be an integer of at least 1, got 0"),
        ({"sequence_length": None}, "sequence_length .*use replay.HostQueue"),
        ({"stride": 1.5}, "stride must be an integer"),
        ({"min_size": True}, "min_size must be an integer"),
        ({"sequence_length": 11}, "capacity=10 rows cannot hold one window"),
        ({"min_size": 11}, "min_size=11 items can never be reached: capacity=10 rows hold"),
        ({"priority_exponent": -0.1}, "priority_exponent must be None"),
        ({"priority_exponent": float("inf")}, "priority_exponent must be None"),
        ({"timeout": 0}, "timeout must be a positive number"),
    ],
)
def test_settings_that_no_buffer_could_serve(change, message):
    with pytest.raises(ValueError, match=message):
        BufferSettings(**(GOOD | change))


class Buffer(WindowBuffer):
    def _dataset(self, batch_size, prefetch, device):
        return iter([(batch_size, prefetch, device)])


def test_settings_are_attributes_and_arguments_are_checked(spec):
    buffer = Buffer(spec, BufferSettings(**(GOOD | {"capacity": np.int64(10)})))
    assert {name: getattr(buffer, name) for name in GOOD} == GOOD
    assert type(buffer.capacity) is int and buffer.layout.row_bytes == 36
    assert next(buffer.as_dataset(4, 2, prefetch=3, device="d")) == (4, 3, "d")
    with pytest.raises(ValueError, match="num_steps=3"):
        buffer.as_dataset(4, 3)


def test_an_accelerator_is_the_default_device(spec, monkeypatch):
    buffer = Buffer(spec, BufferSettings(**GOOD))
    assert next(buffer.as_dataset(4)) == (4, 2, None)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert next(buffer.as_dataset()) == (None, 2, jax.local_devices()[0])

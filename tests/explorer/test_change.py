"""Addresses of changed runs, and rows as bytes."""

import numpy as np
import pytest
import torch

from saccade.errors import ConfigError, RecordingError
from saccade.explorer.change import Change, format_ranges, parse_ranges
from saccade.explorer.memory import Memory
from saccade.explorer.wire import byte_rows, half_rows


@pytest.mark.parametrize("text", ["", "0", "5-7,9", "0-3,10-12,40"])
def test_ranges_round_trip(text: str) -> None:
    assert format_ranges(parse_ranges(text)) == text


@pytest.mark.parametrize("text", ["-1", "a", "1-", "1,,2", "0-9999999", "١"])
def test_wrong_ranges_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_ranges(text)


def test_a_change_is_read_from_an_address() -> None:
    query = {"hide": "3,1-2", "fill": "zero", "heads": "4.1,0.2", "blocks": "7", "temperature": "2"}
    assert Change.from_query(query) == Change((1, 2, 3), "zero", ((0, 2), (4, 1)), (7,), 2.0)
    assert not Change.from_query({"fill": "mean"})
    for key, value in (("fill", "sharpen"), ("heads", "1"), ("temperature", "0"), ("temperature", "nan")):
        with pytest.raises(ConfigError, match=key if key != "heads" else "head"):
            Change.from_query({key: value})


def test_rows_keep_their_numbers() -> None:
    rows = torch.rand(3, 7).softmax(dim=1).half()
    assert np.array_equal(np.frombuffer(half_rows(rows), "<f2").reshape(3, 7), rows.numpy())
    content = byte_rows([rows, rows[:1]])
    scales, steps = np.frombuffer(content[:16], "<f4"), np.frombuffer(content[16:], np.uint8).reshape(4, 7)
    difference = np.abs(steps * scales[:, None] - torch.cat((rows, rows[:1])).float().numpy())
    assert (difference <= rows.amax().item() / 509).all()
    assert not np.frombuffer(byte_rows([torch.zeros(1, 4).half()])[4:], np.uint8).any()


def test_memory_drops_what_was_used_longest_ago() -> None:
    memory: Memory[torch.Tensor] = Memory(100)
    one, two, three = (torch.zeros(40, dtype=torch.uint8) for _ in range(3))
    memory.put("one", one)
    memory.put("two", two)
    assert memory.get("one") is one
    memory.put("three", three)
    assert memory.get("two") is None
    assert memory.get("one") is one
    assert memory.nbytes == 80
    with pytest.raises(RecordingError, match="101 B"):
        memory.put("large", torch.zeros(101, dtype=torch.uint8))

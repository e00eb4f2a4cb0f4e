"""The compiler's flags: a choice for those who have not chosen."""

from __future__ import annotations

import os

import pytest

from jlsm.command_line import xla_flags
from jlsm.command_line.xla_flags import prefer_cpu_flags
from jlsm.loop_sizes import FORWARD_LOOP_BYTES


@pytest.mark.parametrize("own", ["", "--xla_cpu_enable_fast_math=false"])
def test_flags_of_the_user_stay(monkeypatch, own):
    monkeypatch.setenv("XLA_FLAGS", own)
    prefer_cpu_flags(FORWARD_LOOP_BYTES)
    assert os.environ["XLA_FLAGS"] == own


def test_flags_where_there_are_none(monkeypatch):
    monkeypatch.setattr(xla_flags, "_accelerated", lambda: False)
    monkeypatch.setenv("XLA_FLAGS", "to be restored")
    monkeypatch.delenv("XLA_FLAGS")
    prefer_cpu_flags(1234)
    assert "xla_cpu_small_while_loop_byte_threshold=1234" in os.environ["XLA_FLAGS"]


@pytest.mark.parametrize("columns, first_level", [(1, True), (64, False)])
def test_few_columns_take_the_first_level(monkeypatch, columns, first_level):
    monkeypatch.setattr(xla_flags, "_accelerated", lambda: False)
    monkeypatch.setenv("XLA_FLAGS", "to be restored")
    monkeypatch.delenv("XLA_FLAGS")
    prefer_cpu_flags(1234, columns)
    assert ("--xla_backend_optimization_level=1" in os.environ["XLA_FLAGS"].split()) == first_level


@pytest.mark.parametrize(("platforms", "left_alone"), [("", True), ("cuda,cpu", True), ("cpu", False)])
def test_a_gpu_is_left_alone(monkeypatch, platforms, left_alone):
    monkeypatch.setattr(xla_flags, "entry_points", lambda group: [group])
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    monkeypatch.setenv("XLA_FLAGS", "to be restored")
    monkeypatch.delenv("XLA_FLAGS")
    prefer_cpu_flags(1234)
    assert ("XLA_FLAGS" not in os.environ) == left_alone

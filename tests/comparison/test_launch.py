"""Tests of how the runs of a grid are started."""

from __future__ import annotations

import logging

import pytest

from ltml.comparison.launch import _warnings_only


@pytest.mark.parametrize("level", [logging.NOTSET, logging.INFO, logging.ERROR])
def test_a_run_of_a_grid_logs_warnings_only_and_the_users_levels_come_back(level: int) -> None:
    room, package = logging.getLogger("ltml.stages.pipeline"), logging.getLogger("ltml")
    before = room.level, package.level
    try:
        package.setLevel(level)
        with _warnings_only():
            assert not room.isEnabledFor(logging.INFO)
            assert room.isEnabledFor(logging.WARNING) == (level != logging.ERROR)
        assert package.level == level
        room.setLevel(logging.DEBUG)
        with _warnings_only():
            assert room.level == logging.DEBUG
        assert room.level == logging.DEBUG
    finally:
        room.setLevel(before[0])
        package.setLevel(before[1])

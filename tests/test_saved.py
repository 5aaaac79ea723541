"""Saved JSON has a format number; an older file is read, a newer or other one refused with the way on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ltml.checksums import DamagedFileError
from ltml.comparison.result import ComparisonResult
from ltml.errors import InputError
from ltml.metrics.table import SavedChanges, SavedMetrics, score
from ltml.saved import Saved


class _Note(Saved):
    format: int = 2
    text: str


def _write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_what_is_written_is_read_with_its_number_first(tmp_path: Path) -> None:
    _Note.make({"text": "a", "more": 1}).write(tmp_path / "note.json")
    assert list(json.loads((tmp_path / "note.json").read_text()).items()) == [("format", 2), ("text", "a"), ("more", 1)]
    assert _Note.read(tmp_path / "note.json", "").to_json() == {"format": 2, "text": "a", "more": 1}


def test_a_file_without_a_number_is_read_if_it_has_the_shape(tmp_path: Path) -> None:
    assert _Note.read(_write(tmp_path / "old.json", {"text": "a"}), "").text == "a"
    with pytest.raises(DamagedFileError, match=r"old.json holds something else than it should \(see 'text'\); redo it"):
        _Note.read(_write(tmp_path / "old.json", {"words": "a"}), "redo it")


@pytest.mark.parametrize("number", [3, 0, "new", None])
def test_a_format_that_is_not_known_is_refused_by_its_number(tmp_path: Path, number: Any) -> None:
    path = _write(tmp_path / "new.json", {"format": number, "text": "a"})
    with pytest.raises(InputError, match=r"new.json has the format .* reads formats up to 2: update ltml, or redo it"):
        _Note.read(path, "redo it")


def test_metrics_are_saved_as_they_are(tmp_path: Path) -> None:
    content = score([[0.2, 0.1], [0.4, 0.3]], [[0, 1], [1, 1]], groups={"head": ["0"]}).to_json("test")
    assert SavedMetrics.make(content).to_json() == content
    assert next(iter(content)) == "format"
    broken = content | {"per_class": [{"label": "a"}]}
    with pytest.raises(DamagedFileError, match=r"see 'per_class.0.train_pos'"):
        SavedMetrics.read(_write(tmp_path / "metrics.json", broken), "")


def test_changes_stand_by_split_beside_the_number() -> None:
    change = {"split": "test", "macro": {"auroc": 0.1}, "groups": {}, "per_class": [{"label": "a", "auroc": None}]}
    assert SavedChanges.make({"test": change}).to_json() == {"format": 1, "test": change}
    with pytest.raises(ValueError, match="macro"):
        SavedChanges.make({"test": {"split": "test"}})


def test_a_comparison_lacks_no_key_that_a_report_reads(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match="see 'measure'"):
        ComparisonResult.read(_write(tmp_path / "comparison.json", {"name": "x"}), "")

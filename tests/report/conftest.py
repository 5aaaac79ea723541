"""Finished results to report on, names that break careless pages, and a reader of what a page shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fixtures.copies import copy_to_edit
from fixtures.shared import build_once

SIZES = ("data.train_size=120", "data.val_size=60", "data.test_size=80")
EVIL = (
    "<script>document.title='owned'</script>",
    '"><img src="http://example.invalid/x.png" onerror="alert(1)"> & \'co\'',
    "ذات الرئة",
    "心臓肥大と肺炎 {{ 7 * 7 }}",
    "very long name " * 12 + "end",
    "50%_of_$x$ \\alpha ^~ #1 {y} | *z*",
)


@pytest.fixture(scope="session")
def finished(cli: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of the runs of a small comparison; read only."""

    def build(out: Path) -> None:
        methods = ("--methods", "bce,bce_gaussian,label_adapter,asl", "--seeds", "0..2")
        result = cli("compare", "digits_tiny", "train.epochs=1", *SIZES, *methods, "--out", out)
        assert result.exit_code == 0, result.output

    return build_once(tmp_path_factory, "finished", build)


@pytest.fixture(scope="session")
def comparison(finished: Path) -> Path:
    """Folder of that comparison; read only."""
    return finished / "_comparisons" / "digits_tiny"


@pytest.fixture(scope="session")
def evil_run(cli: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on features whose labels have dangerous names; one is unknown in places, one has no test positives."""
    folder, rng = tmp_path_factory.mktemp("evil"), np.random.default_rng(0)
    for split, rows in (("train", 150), ("val", 60), ("test", 60)):
        targets = (rng.random((rows, len(EVIL))) < np.linspace(0.6, 0.1, len(EVIL))).astype(float)
        features = rng.normal(size=(rows, 8)) + targets @ rng.normal(size=(len(EVIL), 8))
        targets[::4, 1] = np.nan
        if split == "test":
            targets[:, 5] = 0
        np.savez(folder / f"{split}.npz", features=features, targets=targets, label_names=list(EVIL))
    files = [part for split in ("train", "val", "test") for part in (_option(split), folder / f"{split}.npz")]
    result = cli("stage2", "digits_tiny", "stage2.solver=expected", *files, "--out", folder / "runs", "--json")
    assert result.exit_code == 0, result.output
    return Path(json.loads(result.stdout)["run_dir"])


@pytest.fixture(scope="session")
def evil_comparison(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The comparison with dangerous names of labels and of a row, and with a run that failed."""
    out = tmp_path_factory.mktemp("evil_grid") / "runs"
    copy_to_edit(finished, out)
    folder = out / "_comparisons" / "digits_tiny"
    labels = ("zero", "one", "two", "three", "four", "five")
    names = dict(zip(labels, EVIL, strict=True)) | {"label_adapter": EVIL[1]}
    for path in [folder / "comparison.json", *out.rglob("metrics*.json")]:
        path.write_text(json.dumps(_renamed(json.loads(path.read_text()), names)))
    scores = pd.read_csv(folder / "scores.csv").replace(names)
    scores.to_csv(folder / "scores.csv", index=False)
    result = json.loads((folder / "comparison.json").read_text())
    result["cells"][-1] |= {"state": "failed", "error": f"no memory for {EVIL[0]}"}
    result["claims"] = [
        {"text": f"{EVIL[0]} wins", "better": EVIL[1], "than": "bce", "difference": 0.01, "sd": 0.02}
        | {"p_holm": 0.5, "verdict": "not shown", "margin": None}
    ]
    score = {"mean": 0.5, "sd": 0.1, "values": [0.4, 0.5, 0.6], "labels": 10}
    result["chosen"] = {"row": EVIL[1], "on": "test", "oracle": True, "test": score}
    (folder / "comparison.json").write_text(json.dumps(result))
    return folder


@pytest.fixture(scope="session")
def evil_names() -> tuple[str, ...]:
    """The dangerous names."""
    return EVIL


@dataclass
class Shown:
    """What a page shows: texts of tables by caption, values that columns are sorted by, other text, elements.

    Attributes:
        tables: rows of texts by caption, the header first.
        values: rows of the ``data-value`` of the number cells by caption.
        text: all text outside style and script, joined.
        tags: every element with its attributes.
    """

    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    values: dict[str, list[list[str]]] = field(default_factory=dict)
    text: str = ""
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.shown, self.open = Shown(), []
        self.caption = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = dict(attrs)
        self.shown.tags.append((tag, about))
        if tag not in ("meta", "link", "br", "img"):
            self.open.append(tag)
        if tag == "caption":
            self.caption = ""
        if tag == "tr":
            self.shown.tables.setdefault(self.caption, []).append([])
            self.shown.values.setdefault(self.caption, []).append([])
        if tag in ("th", "td"):
            self.shown.tables[self.caption][-1].append("")
            if "data-value" in about:
                self.shown.values[self.caption][-1].append(about["data-value"] or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.shown.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if {"script", "style"} & set(self.open):
            return
        self.shown.text += data
        if "caption" in self.open:
            self.caption += data
        elif {"th", "td"} & set(self.open):
            self.shown.tables[self.caption][-1][-1] += data.strip("\n")


@pytest.fixture(scope="session")
def read_page() -> Callable[[Path], Shown]:
    """Reads a page with the standard library's parser, and checks that its elements are nested."""

    def read(path: Path) -> Shown:
        reader = _Reader()
        reader.feed(path.read_text(encoding="utf-8"))
        reader.close()
        assert not reader.open
        return reader.shown

    return read


def _option(split: str) -> str:
    return "--features" if split == "train" else f"--{split}"


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {names.get(key, key): _renamed(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    return names.get(value, value) if isinstance(value, str) else value

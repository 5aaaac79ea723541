"""Prediction files: which columns and cells are read, and what is refused with its line and a remedy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ltml
from ltml.errors import InputError
from ltml.metrics.patient_inputs import NO_PATIENTS
from ltml.metrics.predictions import Predictions

N = 40
RNG = np.random.default_rng(0)
PROBS, TARGETS = RNG.random((N, 2)), (RNG.random((N, 2)) < 0.4).astype(int)
BASE = pd.DataFrame(
    {
        "id": [f"{i:03d}" for i in range(N)],
        "group": [f"p{i // 2}" for i in range(N)],
        "prob:Edema": PROBS[:, 0],
        "prob:Mass": PROBS[:, 1],
        "target:Edema": TARGETS[:, 0],
        "target:Mass": TARGETS[:, 1],
    }
)


def _write(path: Path, frame: pd.DataFrame) -> Path:
    frame.to_csv(path, index=False)
    return path


def _renamed(**names: str) -> pd.DataFrame:
    return BASE.rename(columns={old.replace("__", ":"): new for old, new in names.items()})


def _with(column: str, row: int, value: Any) -> pd.DataFrame:
    frame = BASE.astype(object)
    frame.loc[row, column] = value
    return frame


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        *((_renamed(group=name), f"the column '{name}' is not read: call it 'group'") for name in (
            "Group", "groups", "patient", "patient_id", "PatientID", "GROUP", "group_id", "subject", "gruop"
        )),
        (BASE.assign(Group=1), "the column 'Group' is not read: there is 'group' too"),
        *((BASE.assign(**{name: 1}), f"the column '{name}' is not read: leave target:<label> empty") for name in (
            "known", "Known", "mask", "known:Mass", "mask:Mass", "Mask_Mass"
        )),
        *((BASE.assign(**{name: "val"}), f"the column '{name}' is not read: keep the rows of one split") for name in (
            "split", "Split", "splits"
        )),
        *((_renamed(id=name), f"the column '{name}' is not read: call it 'id'") for name in ("ID", "Id", "image_id")),
        *((_renamed(prob__Mass=name), f"the column '{name}' is not read: call it 'prob:Mass'") for name in (
            "Prob:Mass", "PROB:Mass", "prob: Mass", "prob :Mass", "probs:Mass", "probability:Mass", "prob_Mass",
            "prob.Mass", "p:Mass", "score:Mass", "prob：Mass", "Mass_prob", "pred_Mass",
        )),
        *((_renamed(target__Mass=name), f"the column '{name}' is not read: call it 'target:Mass'") for name in (
            "Target:Mass", "target: Mass", "target :Mass", "targets:Mass", "label:Mass", "y_Mass", "Ground truth:Mass",
        )),
        (BASE.assign(**{"Novel:Hernia": 0}), "'Novel:Hernia' is not read: call it 'novel:Hernia'"),
        (BASE.assign(**{"prob:Mass ": 0.5}), "appear more than once"),
        (BASE.assign(**{"prob:mass": 0.5, "target:mass": 1}), "'prob:Mass' and 'prob:mass' differ in form alone"),
        (BASE.assign(**{"target:Hernia": 1}), "'target:Hernia' has no 'prob:Hernia' beside it: add it"),
        (BASE.assign(**{"prob:Hernia": 0.1}), "'prob:Hernia' has no 'target:Hernia' beside it: add it"),
        (_renamed(target__Mass="target:mass"), "'prob:Mass' has no 'target:Mass' beside it: is 'target:mass' meant"),
        (_renamed(prob__Mass="prob:"), "the column 'prob:' is not read: call it 'prob:<label>'"),
        (BASE.drop(columns=["prob:Mass", "prob:Edema"]), "lacks prob:<label>"),
        (BASE.drop(columns="id"), "lacks id"),
        (BASE[["id", "group"]], "lacks prob:<label>"),
    ],
)  # fmt: skip
def test_columns_that_are_almost_read_are_refused(tmp_path: Path, frame: pd.DataFrame, message: str) -> None:
    with pytest.raises(InputError) as caught:
        Predictions.read(_write(tmp_path / "x.csv", frame))
    assert message in str(caught.value)
    assert len(str(caught.value)) - len(str(tmp_path)) < 600


def test_columns_of_something_else_are_passed_over(tmp_path: Path) -> None:
    others = {"age": 5, "view": "PA", "score_date": "x", "comment": "", "p_value": 0.1, "fold": 1, "patient_age": 3}
    answers = Predictions.read(_write(tmp_path / "x.csv", BASE.assign(**others)))
    assert answers.label_names == ("Edema", "Mass")
    assert answers.knows_patients


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        *((_with("group", 3, empty), "line 5: the column group is empty (1 such): rows of nobody") for empty in (
            "", " ", "nan", "NaN", "None", "<NA>", "null"
        )),
        (_with("id", 0, ""), "line 2: the column id is empty"),
        (_with("id", 1, "000"), "line 3: the id '000' appears more than once"),
        (_with("group", 3, "P0"), "line 5: the group 'P0' is 'p0' on line 2; they differ only in case"),
        (BASE.assign(group=[str(i // 2) for i in range(N - 1)] + ["03.0"]), "line 41: the group '03.0' is '3' on"),
        (_with("prob:Mass", 0, ""), "line 2, column prob:Mass: empty; every row needs a probability in [0, 1] (1"),
        (_with("prob:Mass", 0, "nan"), "line 2, column prob:Mass: 'nan'; every row needs a probability"),
        (_with("prob:Mass", 0, -1.3), "line 2, column prob:Mass: -1.3 (logits? apply a sigmoid; percent? divide by"),
        (BASE.assign(**{"prob:Mass": PROBS[:, 1] * 100}), f"prob:Mass: {float(PROBS[0, 1] * 100)} (logits?"),
        (_with("prob:Mass", 4, "inf"), "line 6, column prob:Mass: inf (logits?"),
        (_with("prob:Mass", 4, "0,5"), "line 6, column prob:Mass: '0,5' has a decimal comma; write a point"),
        (_with("prob:Mass", 4, "high"), "line 6, column prob:Mass: 'high' is not a number"),
        (_with("target:Mass", 0, -1), "line 2, column target:Mass: -1; uncertain or unknown? Leave the cell empty"),
        (_with("target:Mass", 0, "-1.0"), "column target:Mass: -1; uncertain"),
        (_with("target:Mass", 5, "Yes"), "line 7, column target:Mass: 'Yes'; allowed are 0, 1 (or true, false) and"),
        (_with("target:Mass", 5, 2), "line 7, column target:Mass: '2'; allowed"),
        (_with("target:Mass", 5, "0,0"), "'0,0'; allowed are 0, 1 (or true, false) and empty (unknown); it has a"),
        (BASE.assign(**{"target:Mass": PROBS[:, 0]}), "are prob: and target: swapped?"),
        (BASE.assign(**{"novel:Hernia": 3}), "line 2, column novel:Hernia: '3'; allowed"),
    ],
)  # fmt: skip
def test_cells_are_refused_with_line_column_value_and_remedy(tmp_path: Path, frame: pd.DataFrame, message: str) -> None:
    with pytest.raises(InputError) as caught:
        Predictions.read(_write(tmp_path / "x.csv", frame))
    assert message in str(caught.value)
    assert len(str(caught.value)) - len(str(tmp_path)) < 600


@pytest.mark.parametrize(
    "spell",
    [
        lambda t: t == 1,
        lambda t: np.where(t == 1, "TRUE", "FALSE"),
        lambda t: np.where(t == 1, "true", "false"),
        lambda t: t.astype(float),
        lambda t: np.where(t == 1, "1.00", "0e0"),
    ],
)
def test_targets_are_read_in_every_spelling(tmp_path: Path, spell: Callable[[Any], Any]) -> None:
    answers = Predictions.read(_write(tmp_path / "x.csv", BASE.assign(**{"target:Mass": spell(TARGETS[:, 1])})))
    assert np.array_equal(answers.targets, TARGETS)
    assert np.array_equal(answers.probs, PROBS)


def test_empty_targets_are_unknown_and_novel_labels_are_read(tmp_path: Path) -> None:
    frame = _with("target:Mass", 2, "").assign(**{"novel:Hernia": ["", "1", *["0"] * (N - 2)]})
    answers = Predictions.read(_write(tmp_path / "x.csv", frame))
    assert np.argwhere(np.isnan(answers.targets)).tolist() == [[2, 1]]
    assert np.array_equal(answers.novel["Hernia"], [np.nan, 1, *[0] * (N - 2)], equal_nan=True)


def test_an_index_that_pandas_wrote_is_refused(tmp_path: Path) -> None:
    BASE.to_csv(tmp_path / "x.csv")
    with pytest.raises(InputError, match="column 1 has no name"):
        Predictions.read(tmp_path / "x.csv")


def test_without_patients_every_command_that_resamples_says_so(cli, tmp_path: Path) -> None:
    bare = _write(tmp_path / "bare.csv", BASE.drop(columns="group"))
    known = _write(tmp_path / "known.csv", BASE)
    for words in (["evaluate", bare, "--ci"], ["compare", "--predictions", bare, bare, "--names", "a,b"]):
        shown = cli(*words, "--resamples", 100)
        assert shown.exit_code == 0, shown.output
        assert f"warning: {NO_PATIENTS}" in shown.stderr
    assert NO_PATIENTS not in cli("evaluate", known, "--ci", "--resamples", 100).stderr
    assert NO_PATIENTS not in cli("evaluate", bare).stderr
    content = json.loads(cli("evaluate", bare, "--ci", "--resamples", 100, "--json").stdout)
    assert content["ci"]["groups"] == N


@pytest.mark.parametrize(
    ("write", "hint"),
    [
        (lambda i: str(i), "'000'"),
        (lambda i: f"{float(i)}", "'000'"),
        (lambda i: f"{i:03d}.0", "'000.0' is: write it alike"),
    ],
)
def test_ids_in_another_form_are_refused_with_their_twin(
    tmp_path: Path, write: Callable[[int], str], hint: str
) -> None:
    paths = [
        _write(tmp_path / "a.csv", BASE),
        _write(tmp_path / "b.csv", BASE.assign(id=[write(i) for i in range(N)])),
    ]
    with pytest.raises(InputError, match="write it alike in both") as caught:
        ltml.compare_predictions(paths, resamples=2)
    assert hint in str(caught.value)


def test_parquet_is_read_as_csv(tmp_path: Path) -> None:
    frame = BASE.assign(**{"target:Mass": pd.array([None, *TARGETS[1:, 1]], dtype="Int8")})
    frame.to_parquet(tmp_path / "x.parquet", index=False)
    frame.set_index("id").to_parquet(tmp_path / "indexed.parquet")
    right = Predictions.read(_write(tmp_path / "x.csv", frame))
    for name in ("x.parquet", "indexed.parquet"):
        found = Predictions.read(tmp_path / name)
        assert (found.label_names, found.ids, found.groups) == (right.label_names, right.ids, right.groups)
        assert np.array_equal(found.probs, right.probs)
        assert np.array_equal(found.targets, right.targets, equal_nan=True)
    BASE.rename(columns={"group": "Group"}).to_parquet(tmp_path / "near.parquet", index=False)
    with pytest.raises(InputError, match="the column 'Group' is not read"):
        Predictions.read(tmp_path / "near.parquet")

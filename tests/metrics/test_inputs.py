"""What users give to a measure: every kind of array gives the figures of plain ones, or is refused with its place."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scipy.sparse import csr_array

import ltml
from ltml.errors import InputError
from ltml.metrics import bootstrap, calibration, delong, groups, odir, ranking, threshold
from ltml.metrics.arguments import ArrayError
from ltml.metrics.patient_inputs import read_patients

N, NAMES = 60, ["a", "b", "c"]
RNG = np.random.default_rng(0)
PROBS = RNG.random((N, 3)).round(2)
TARGETS = (RNG.random((N, 3)) < 0.4).astype(float)
HIDDEN = RNG.random((N, 3)) < 0.3
KNOWN = np.where(HIDDEN, np.nan, TARGETS)
INDEX = [f"film{i}" for i in range(N)]


def _frame(values: np.ndarray, dtype: Any = None) -> pd.DataFrame:
    return pd.DataFrame(values, columns=NAMES, index=INDEX).astype(dtype or values.dtype)


def _objects(missing: Any) -> np.ndarray:
    values = TARGETS.astype(object)
    values[HIDDEN] = missing
    return values


WITH_UNKNOWN: dict[str, Callable[[], Any]] = {
    "masked array": lambda: np.ma.masked_array(TARGETS, HIDDEN),
    "masked integers": lambda: np.ma.masked_array(TARGETS.astype(int), HIDDEN),
    "masked booleans": lambda: np.ma.masked_array(TARGETS == 1, HIDDEN),
    "masked, something else below": lambda: np.ma.masked_array(np.where(HIDDEN, -1, TARGETS), HIDDEN),
    "masked objects": lambda: np.ma.masked_array(_objects("?"), HIDDEN),
    "list of masked rows": lambda: list(np.ma.masked_array(TARGETS, HIDDEN)),
    "list with the masked constant": lambda: [
        [np.ma.masked if h else t for t, h in zip(*row, strict=True)] for row in zip(TARGETS, HIDDEN, strict=True)
    ],
    "Int8": lambda: _frame(KNOWN, "Int8"),
    "UInt8 and boolean": lambda: _frame(KNOWN, "UInt8").astype({"b": "boolean"}),
    "Float64": lambda: _frame(KNOWN, "Float64"),
    "Float32": lambda: _frame(KNOWN, "Float32"),
    "string": lambda: _frame(KNOWN, "Int8").astype("string"),
    "str": lambda: _frame(KNOWN, "Int8").astype("string").astype("str"),
    "category": lambda: _frame(KNOWN, "category"),
    "category of booleans": lambda: _frame(KNOWN, "boolean").astype(object).astype("category"),
    "category of text": lambda: _frame(KNOWN, "Int8").astype("string").astype("category"),
    "sparse": lambda: _frame(KNOWN, pd.SparseDtype("float64", np.nan)),
    "arrow integers": lambda: _frame(KNOWN, "Int8").astype(pd.ArrowDtype(pa.int8())),
    "arrow booleans": lambda: _frame(KNOWN, "boolean").astype(pd.ArrowDtype(pa.bool_())),
    "arrow doubles": lambda: _frame(KNOWN, "Float64").astype(pd.ArrowDtype(pa.float64())),
    "arrow text": lambda: _frame(KNOWN, "Int8").astype("string").astype(pd.ArrowDtype(pa.string())),
    "arrow table": lambda: pa.Table.from_pandas(_frame(KNOWN, "Int8"), preserve_index=False),
    "objects with None": lambda: _objects(None),
    "objects with NA": lambda: _objects(pd.NA),
    "objects with NaN": lambda: _objects(float("nan")),
    "frame of booleans and None": lambda: pd.DataFrame(
        np.where(HIDDEN, None, TARGETS == 1), columns=NAMES, index=INDEX, dtype=object
    ),
    "lists with None": lambda: _objects(None).tolist(),
    "tuples with NA": lambda: tuple(map(tuple, _objects(pd.NA).tolist())),
    "decimals": lambda: [[None if np.isnan(v) else Decimal(int(v)) for v in row] for row in KNOWN],
    "tensor": lambda: torch.from_numpy(KNOWN),
    "half": lambda: torch.from_numpy(KNOWN).half(),
    "bfloat16": lambda: torch.from_numpy(KNOWN).bfloat16(),
    "list of tensors": lambda: list(torch.from_numpy(KNOWN).bfloat16()),
    "parameter": lambda: torch.nn.Parameter(torch.from_numpy(KNOWN)),
    "transposed memory": lambda: np.asfortranarray(KNOWN),
    "big-endian": lambda: KNOWN.astype(">f4"),
    "rows of series": lambda: [row for _, row in _frame(KNOWN, "Int8").iterrows()],
}
ALL_KNOWN: dict[str, Callable[[], Any]] = {
    "booleans": lambda: TARGETS == 1,
    "unsigned": lambda: TARGETS.astype(np.uint64),
    "tensor of booleans": lambda: torch.from_numpy(TARGETS == 1),
    "sparse matrix": lambda: csr_array(TARGETS),
    "sparse tensor": lambda: torch.from_numpy(TARGETS).to_sparse(),
    "compressed sparse tensor": lambda: torch.from_numpy(TARGETS).int().to_sparse_coo(),
    "sparse frame": lambda: _frame(TARGETS, pd.SparseDtype("int8", 0)),
    "numerals": lambda: TARGETS.astype(int).astype(str),
}
SCORES: dict[str, Callable[[], Any]] = {
    "lists": lambda: PROBS.tolist(),
    "frame": lambda: _frame(PROBS),
    "Float64": lambda: _frame(PROBS, "Float64"),
    "arrow": lambda: _frame(PROBS, pd.ArrowDtype(pa.float64())),
    "gradient": lambda: torch.from_numpy(PROBS).requires_grad_(),
    "inference": lambda: torch.inference_mode()(lambda: torch.from_numpy(PROBS) * 1)(),
    "list of scalars with gradient": lambda: [list(row) for row in torch.from_numpy(PROBS).requires_grad_()],
    "masked, nothing hidden": lambda: np.ma.masked_array(PROBS),
    "masked where unknown": lambda: np.ma.masked_array(np.where(HIDDEN, 99.0, PROBS), HIDDEN),
}


def _figures(table: Any) -> list[tuple[Any, ...]]:
    measures = ("n_pos", "n_known", "auroc", "ap", "macc", "kappa")
    return [tuple(row[name] for name in measures) for row in table.per_class] + [tuple(table.odir.values())]


@pytest.mark.parametrize("kind", WITH_UNKNOWN)
def test_targets_of_every_kind_score_as_plain_ones(kind: str) -> None:
    assert _figures(ltml.score(PROBS, WITH_UNKNOWN[kind]())) == _figures(ltml.score(PROBS, KNOWN))


@pytest.mark.parametrize("kind", ALL_KNOWN)
def test_targets_without_unknown_score_as_plain_ones(kind: str) -> None:
    assert _figures(ltml.score(PROBS, ALL_KNOWN[kind]())) == _figures(ltml.score(PROBS, TARGETS))


@pytest.mark.parametrize("kind", SCORES)
def test_probs_of_every_kind_score_as_plain_ones(kind: str) -> None:
    assert _figures(ltml.score(SCORES[kind](), KNOWN)) == _figures(ltml.score(PROBS, KNOWN))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_short_floats_are_widened(dtype: torch.dtype) -> None:
    short = torch.from_numpy(PROBS).to(dtype)
    assert _figures(ltml.score(short, KNOWN)) == _figures(ltml.score(short.double().numpy(), KNOWN))


def _entry_points(probs: Any, targets: Any) -> dict[str, Any]:
    """Every public function of one class or of all, on two classes or one."""
    one = (probs[:, 0], targets[:, 0]) if not isinstance(probs, pd.DataFrame) else (probs["a"], targets["a"])
    patients = [i // 2 for i in range(N)]
    resampled = bootstrap.bootstrap_scores(probs, targets, patients, resamples=3)
    return {
        "auroc": ranking.auroc(*one),
        "average_precision": ranking.average_precision(*one),
        "score": _figures(ltml.score(probs, targets)),
        "confusion": threshold.confusion(*one),
        "odir_score": odir.odir_score(probs, targets),
        "brier": calibration.brier(*one),
        "adaptive_ece": calibration.adaptive_ece(*one),
        "fit_temperature": calibration.fit_temperature(probs, targets),
        "apply_temperature": np.nan_to_num(calibration.apply_temperature(probs, 2.0)).tolist(),
        "best_f1_threshold": calibration.best_f1_threshold(*one),
        "delong": str(delong.delong(one[0], one[0], one[1])),
        "bootstrap_scores": {name: values.tolist() for name, values in resampled.items()},
        "describe_intervals": bootstrap.describe_intervals(resampled, targets, patients, NAMES),
        "why_no_interval": bootstrap.why_no_interval(one[1]),
    }


@pytest.mark.parametrize(
    ("probs", "targets"),
    [
        (PROBS, np.ma.masked_array(np.where(HIDDEN, 0, TARGETS), HIDDEN)),
        (_frame(PROBS, "Float64"), _frame(KNOWN, "Int8").sample(frac=1, random_state=0)),
        (torch.from_numpy(PROBS).requires_grad_(), torch.from_numpy(KNOWN)),
    ],
    ids=["masked", "frames in another order", "tensors"],
)
def test_every_public_function_reads_alike(probs: Any, targets: Any) -> None:
    expected = _entry_points(PROBS, KNOWN)
    found = _entry_points(probs, targets)
    if isinstance(targets, pd.DataFrame):  # targets alone keep their own order
        del found["describe_intervals"], expected["describe_intervals"]
    assert found == {name: expected[name] for name in found}


@pytest.mark.parametrize("minus", [-1, 2, 0.5])
def test_every_public_function_refuses_other_targets(minus: float) -> None:
    targets = np.where(HIDDEN, minus, TARGETS)
    calls = {
        "score": lambda: ltml.score(PROBS, targets),
        "auroc": lambda: ranking.auroc(PROBS[:, 0], targets[:, 0]),
        "confusion": lambda: threshold.confusion(PROBS[:, 0], targets[:, 0]),
        "odir": lambda: odir.odir_score(PROBS, targets),
        "brier": lambda: calibration.brier(PROBS[:, 0], targets[:, 0]),
        "ece": lambda: calibration.adaptive_ece(PROBS[:, 0], targets[:, 0]),
        "temperature": lambda: calibration.fit_temperature(PROBS, targets),
        "threshold": lambda: calibration.best_f1_threshold(PROBS[:, 0], targets[:, 0]),
        "delong": lambda: delong.delong(PROBS[:, 0], PROBS[:, 1], targets[:, 0]),
        "bootstrap": lambda: bootstrap.bootstrap_scores(PROBS, targets, INDEX, resamples=2),
        "intervals": lambda: bootstrap.describe_intervals({"ap": PROBS}, targets, INDEX, NAMES),
        "reason": lambda: bootstrap.why_no_interval(targets[:, 0]),
    }
    for call in calls.values():
        with pytest.raises(ArrayError, match=r"targets of 0, 1 or NaN \(unknown\) but targets\[\d+"):
            call()
    assert issubclass(ArrayError, InputError)
    assert issubclass(ArrayError, ValueError)


def test_minus_one_names_chexpert_and_the_remedy() -> None:
    with pytest.raises(ArrayError, match=r"CheXpert's mark.*never a negative \(np.where\(targets == -1, np.nan"):
        ltml.score(PROBS, np.where(HIDDEN, -1, TARGETS))


def test_frames_are_matched_by_name() -> None:
    right = _figures(ltml.score(PROBS, KNOWN))
    probs, targets = _frame(PROBS), _frame(KNOWN)
    assert _figures(ltml.score(probs, targets[["c", "a", "b"]])) == right
    assert _figures(ltml.score(probs, targets.sample(frac=1, random_state=1))) == right
    assert _figures(ltml.score(probs, KNOWN)) == right
    assert _figures(ltml.score(PROBS, targets)) == right
    assert [row["label"] for row in ltml.score(PROBS, targets).per_class] == NAMES
    assert [row["label"] for row in ltml.score(probs.set_axis(range(3), axis=1), targets).per_class] == NAMES
    numbered = [frame.set_axis([0, 1, 2], axis=1) for frame in (probs, targets)]
    assert _figures(ltml.score(numbered[0], numbered[1][[2, 0, 1]])) == right
    assert _figures(ltml.score(pd.DataFrame(PROBS), pd.DataFrame(KNOWN))) == right


COUNTED = pd.DataFrame(KNOWN, columns=NAMES)


@pytest.mark.parametrize(
    ("probs", "targets", "message"),
    [
        (
            _frame(PROBS),
            _frame(KNOWN).rename(columns={"a": "A"}),
            "columns of probs and targets differ.*'a'.*is 'A' meant",
        ),
        (_frame(PROBS), _frame(KNOWN).rename(columns={"a": "x"}), "columns of probs and targets differ"),
        (_frame(PROBS), _frame(KNOWN).rename(index={"film3": "film99"}), "index of probs and targets differ.*'film3'"),
        (pd.DataFrame(PROBS), pd.DataFrame(KNOWN).sample(frac=1, random_state=1), "index.*merely counts its rows"),
        (pd.DataFrame(PROBS), _frame(KNOWN), "index of probs and targets differ.*to_numpy"),
        (_frame(PROBS), _frame(KNOWN).rename(columns={"b": "a"}), "targets has the column 'a' twice"),
        (_frame(PROBS).set_axis(["x"] * N), _frame(KNOWN).set_axis(["x"] * (N - 1) + ["y"]), "index of probs"),
    ],
)
def test_frames_that_contradict_each_other_are_refused(probs: Any, targets: Any, message: str) -> None:
    with pytest.raises(ArrayError, match=message):
        ltml.score(probs, targets)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["c", "a", "b"], "contradict the columns of probs: column 0 is 'a', but 'c'"),
        (["a", "a", "b"], "label_names holds 'a' twice"),
        (["a", "", "b"], "text but got ''"),
        (["a", None, "b"], "text but got None"),
        (["a", float("nan"), "b"], "text but got nan"),
        ("abc", "list of names but got str"),
        ({"a": 0}, "list of names but got dict"),
        (["a", "b"], "3 label names but got 2"),
        ([str(i) for i in range(N)], r"transposed \(.T\)"),
    ],
)
def test_label_names_that_cannot_be_meant_are_refused(names: Any, message: str) -> None:
    with pytest.raises(ArrayError, match=message):
        ltml.score(_frame(PROBS), KNOWN, label_names=names)


def test_label_names_may_be_any_list_of_names() -> None:
    for names in (tuple(NAMES), np.array(NAMES), pd.Index(NAMES), pd.Series(NAMES), iter(NAMES)):
        assert [row["label"] for row in ltml.score(PROBS, KNOWN, label_names=names).per_class] == NAMES


@pytest.mark.parametrize(
    ("probs", "targets", "message"),
    [
        (PROBS[:, 0], KNOWN[:, 0], r"one shape \(N, C\).*reshape\(-1, 1\)"),
        (PROBS[:, :1], KNOWN[:, 0], r"reshape\(-1, 1\)"),
        (PROBS, KNOWN.T, "transposed"),
        (PROBS, TARGETS[:, 0], "one-hot"),
        (PROBS[None], KNOWN[None], "one shape"),
        (np.empty((5, 0)), np.empty((5, 0)), "one shape"),
        (0.5, 1, "one shape"),
        ([*PROBS.tolist()[:-1], [0.5]], KNOWN, "of one length each"),
        ({"a": PROBS[:, 0]}, KNOWN, "probs as an array but got dict"),
        (None, KNOWN, "probs as an array but got NoneType"),
        (PROBS + 1j, KNOWN, "numbers in probs but got complex128"),
        (np.full((N, 3), np.datetime64("2020-01-01")), KNOWN, "numbers in probs"),
        (PROBS, np.where(HIDDEN, "Yes", "0"), r"targets\[\d+, \d+\] is 'Yes'"),
        (TARGETS, PROBS, "probs holds nothing but 0 and 1: are the two swapped"),
        (PROBS * 100, KNOWN, r"percent\? divide by 100"),
        (np.log(PROBS + 0.01), KNOWN, r"probs\[\d+, \d+\] is -\d.*logits\? apply a sigmoid"),
        (np.where(HIDDEN, PROBS, np.nan), KNOWN, "without NaN where the target is known"),
        (np.ma.masked_array(PROBS, ~HIDDEN), KNOWN, "NaN or masked"),
        (_frame(PROBS * 2), KNOWN, r"\(column '[abc]'\) is 1\.\d"),
    ],
)
def test_arrays_that_cannot_be_meant_are_refused(probs: Any, targets: Any, message: str) -> None:
    with pytest.raises(ArrayError, match=message) as caught:
        ltml.score(probs, targets)
    assert len(str(caught.value)) <= 600


def test_functions_of_one_class_refuse_columns() -> None:
    for call in (ranking.auroc, threshold.confusion, calibration.brier, ranking.known_entries):
        for probs, targets in ((PROBS[:, :1], KNOWN[:, :1]), (PROBS[:, :1], KNOWN[:, 0]), (PROBS[:, 0], KNOWN[:, :1])):
            with pytest.raises(ArrayError, match=r"one shape \(N,\).*one class at a time"):
                call(probs, targets)


@pytest.mark.parametrize(
    "limit", [float("nan"), 50, -0.1, 1.5, [0.5, 0.5, 2], {"a": 0.5, "b": 0.5}, "half", [0.5, None, 1]]
)
def test_thresholds_that_cannot_be_meant_are_refused(limit: Any) -> None:
    with pytest.raises(ArrayError, match="threshold"):
        ltml.score(PROBS, KNOWN, label_names=NAMES, threshold=limit)
    with pytest.raises(ArrayError):
        odir.odir_score(PROBS, KNOWN, limit)


def test_thresholds_by_label_and_of_other_kinds() -> None:
    right = ltml.score(PROBS, KNOWN, label_names=NAMES, threshold=[0.2, 0.5, 0.7])
    for limits in (
        {"c": 0.7, "a": 0.2, "b": 0.5},
        pd.Series([0.7, 0.2, 0.5], index=["c", "a", "b"]),
        np.array([0.2, 0.5, 0.7]),
        torch.tensor([0.2, 0.5, 0.7], dtype=torch.float64),
        (0.2, 0.5, 0.7),
    ):
        assert _figures(ltml.score(PROBS, KNOWN, label_names=NAMES, threshold=limits)) == _figures(right)
    assert ltml.score(PROBS, KNOWN, threshold=np.float32(0.5)).threshold == 0.5
    assert ltml.score(PROBS, KNOWN, threshold=torch.tensor(0.5)).threshold == 0.5
    assert threshold.confusion([0.0, 1.0], [0, 1], 0) == threshold.Confusion(1, 1, 0, 0)


COUNTS = {"a": 30, "b": 20, "c": 10}


@pytest.mark.parametrize(
    "counts",
    [
        COUNTS,
        dict(reversed(COUNTS.items())),
        pd.Series(COUNTS)[::-1],
        pd.Series(COUNTS).to_frame("n")[::-1],
        pd.Series(COUNTS).to_frame().T[["c", "b", "a"]],
        [30, 20, 10],
        np.array([30.0, 20, 10]),
        torch.tensor([30, 20, 10]),
        COUNTS | {"another": 3},
    ],
)
def test_counts_of_every_kind(counts: Any) -> None:
    table = ltml.score(PROBS, KNOWN, label_names=NAMES, train_positives=counts)
    assert [row["train_pos"] for row in table.per_class] == [30, 20, 10]
    assert groups.by_thirds(NAMES, counts) == {"head": ["a"], "medium": ["b"], "tail": ["c"]}
    assert groups.by_counts(NAMES, counts, 25, 15) == {"head": ["a"], "medium": ["b"], "tail": ["c"]}
    assert groups.by_quantiles(NAMES, counts, 0.3, 0.7) == {"head": ["a"], "medium": ["b"], "tail": ["c"]}


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"a": 1, "b": 2, "C": 3}, r"no value for the label 'c' \(it has 'C'\)"),
        ({"a": 1}, "no value for the label 'b'; it has 'a'"),
        ([1, 2], "of 3 classes but got 2"),
        ([1, 2, -3], "whole numbers of 0 or more but got -3 for 'c'"),
        ([1, 2, 2.5], "whole numbers"),
        ([1, None, 3], "no number for 'b'"),
        (pd.DataFrame(np.ones((2, 3)), columns=NAMES), "of 3 classes"),
        (pd.Series([1, 2, 3, 4], index=["a", "a", "b", "c"]), "the label 'a' twice"),
    ],
)
def test_counts_that_cannot_be_meant_are_refused(counts: Any, message: str) -> None:
    with pytest.raises(ArrayError, match=message):
        ltml.score(PROBS, KNOWN, label_names=NAMES, train_positives=counts)
    with pytest.raises(ArrayError, match=message):
        groups.by_thirds(NAMES, counts)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (pd.DataFrame({"label": NAMES, "group": ["head", "head", "tail"]}), "labels by group name.*got DataFrame"),
        (pd.Series(["head", "head", "tail"], index=NAMES), "got Series.*Patients are not for scores"),
        (INDEX, "got list"),
        ({"head": "a"}, "group 'head' is 'a'"),
        ({"head": ["A"], "tail": ["b"]}, "'head' names the label 'A': did you mean 'a'"),
        ({"head": 3}, "group 'head' is 3"),
    ],
)
def test_groups_of_labels_that_cannot_be_meant_are_refused(given: Any, message: str) -> None:
    with pytest.raises(ArrayError, match=message):
        ltml.score(PROBS, KNOWN, label_names=NAMES, groups=given)


def test_patients_as_numbers_or_text_are_one() -> None:
    numbers = [i // 3 for i in range(N)]
    right = bootstrap.bootstrap_scores(PROBS, KNOWN, [str(n) for n in numbers], resamples=4)
    for patients in (
        numbers,
        np.array(numbers, dtype=float),
        torch.tensor(numbers),
        pd.Series(numbers, dtype="Int64"),
        pd.Series(map(str, numbers), dtype="category"),
        [float(n) if n % 2 else str(n) for n in numbers],
        np.array([str(n) for n in numbers], dtype="S4"),
        pd.DataFrame({"patient": numbers}),
        (n for n in numbers),
    ):
        found = bootstrap.bootstrap_scores(PROBS, KNOWN, patients, resamples=4)
        assert all(np.array_equal(found[name], right[name], equal_nan=True) for name in right)
    index = pd.Series([str(n) for n in numbers], index=INDEX)[::-1]
    found = bootstrap.bootstrap_scores(_frame(PROBS), _frame(KNOWN), index, resamples=4)
    assert all(np.array_equal(found[name], right[name], equal_nan=True) for name in right)


@pytest.mark.parametrize(
    ("patients", "message"),
    [
        (["a"] * (N - 1) + [""], r"groups\[59\] is empty \(1 such\)"),
        (["a"] * (N - 1) + [None], r"groups\[59\] is empty"),
        ([1.0] * (N - 1) + [float("nan")], r"groups\[59\] is empty"),
        (["a"] * (N - 1) + ["nan"], r"groups\[59\] is empty"),
        (["a"] * (N - 1) + [" "], r"groups\[59\] is empty"),
        (pd.Series([1] * (N - 1) + [None], dtype="Int64"), r"groups\[59\] is empty"),
        (np.ma.masked_array(np.arange(N), np.arange(N) == 59), r"groups\[59\] is empty"),
        (["7", "007"] * (N // 2), "'7' and '007' differ only in"),
        (["7.0", 7] * (N // 2), "'7.0' and '7' differ only in"),
        (["P1", "p1"] * (N // 2), "'P1' and 'p1' differ only in"),
        (["a", "b"], r"each of 60 rows, but got \(2,\)"),
        (np.zeros((N, 2)), r"the shape \(60, 2\)"),
        ("a" * N, "patient of each row, but got str"),
    ],
)
def test_patients_that_cannot_be_meant_are_refused(patients: Any, message: str) -> None:
    with pytest.raises(ArrayError, match=message):
        bootstrap.bootstrap_scores(PROBS, KNOWN, patients, resamples=2)


def test_patients_of_a_frame_with_another_index_are_refused() -> None:
    with pytest.raises(ArrayError, match="index of the scores and groups differ"):
        bootstrap.bootstrap_scores(_frame(PROBS), KNOWN, pd.Series(INDEX), resamples=2)
    assert read_patients([1, 1.0, "1"]).tolist() == ["1"] * 3


def test_delong_matches_series_by_index() -> None:
    a, b, targets = (pd.Series(values, index=INDEX) for values in (PROBS[:, 0], PROBS[:, 1], KNOWN[:, 0]))
    right = str(delong.delong(PROBS[:, 0], PROBS[:, 1], KNOWN[:, 0]))
    assert str(delong.delong(a, b[::-1], targets)) == right
    assert str(delong.delong(a, b[::-1], KNOWN[:, 0])) == right
    assert str(delong.delong(PROBS[:, :1].T, PROBS[:, 1], torch.from_numpy(KNOWN[:, 0]))) == right
    with pytest.raises(ArrayError, match=r"scores_b \(N,\) or \(S, N\)"):
        delong.delong(PROBS[:, 0], PROBS[:, 1:], KNOWN[:, 0])


@pytest.mark.parametrize(
    ("temperature", "message"), [(0, "above 0"), (-1, "above 0"), (float("nan"), "above 0"), ([1, 2], "one per class")]
)
def test_temperatures_that_cannot_be_meant_are_refused(temperature: Any, message: str) -> None:
    with pytest.raises(ArrayError, match=message):
        calibration.apply_temperature(PROBS, temperature)
    with pytest.raises(ArrayError, match="in \\[0, 1\\]"):
        calibration.apply_temperature(PROBS - 1, 1)


def test_columns_of_a_predictions_file_are_matched_by_label() -> None:
    probs, targets = _frame(PROBS).add_prefix("prob:"), _frame(KNOWN, "Int8").add_prefix("target:")
    table = ltml.score(probs, targets[["target:c", "target:a", "target:b"]])
    assert [row["label"] for row in table.per_class] == NAMES
    assert _figures(table) == _figures(ltml.score(PROBS, KNOWN))
    with pytest.raises(ArrayError, match="columns of probs and targets differ"):
        ltml.score(probs, targets.rename(columns={"target:a": "target:A"}))

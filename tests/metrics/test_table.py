from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multilabel_auroc, multilabel_average_precision

from ltml.errors import InputError
from ltml.metrics.groups import by_counts, by_name, by_quantiles, by_thirds, describe_rule
from ltml.metrics.table import changes, score
from ltml.recipe.load import load_recipe
from ltml.recipe.schema import GroupsSection
from ltml.registry import MEASURES


def test_macro_equals_torchmetrics_without_unknowns() -> None:
    rng = np.random.default_rng(0)
    probs, targets = rng.random((200, 5)), rng.integers(0, 2, (200, 5))
    table = score(probs, targets)
    tensors = torch.from_numpy(probs), torch.from_numpy(targets)
    assert table.macro["auroc"] == pytest.approx(multilabel_auroc(*tensors, num_labels=5).item(), abs=1e-6)
    expected = multilabel_average_precision(*tensors, num_labels=5).item()
    assert table.macro["ap"] == pytest.approx(expected, abs=1e-6)


def test_unknown_entries_have_no_influence() -> None:
    rng = np.random.default_rng(1)
    probs = rng.random((80, 3))
    targets = rng.choice([0.0, 1.0, np.nan], (80, 3))
    changed = np.where(np.isnan(targets), rng.random((80, 3)), probs)
    assert score(probs, targets).macro == score(changed, targets).macro


def test_undefined_classes_are_left_out_and_null() -> None:
    targets = np.array([[1, 0, np.nan], [0, 0, np.nan], [1, 0, np.nan]], dtype=float)
    table = score(np.full((3, 3), 0.5), targets, label_names=["a", "b", "c"])
    assert table.n_classes["auroc"] == 1
    assert table.macro["auroc"] == 0.5
    assert table.n_classes["macc"] == 2
    content = table.to_json("test")
    assert content["per_class"][1]["auroc"] is None
    assert content["per_class"][2] | {"macc": None} == content["per_class"][2]
    json.dumps(content, allow_nan=False)


def test_nothing_defined_is_null_not_zero() -> None:
    table = score(np.full((2, 1), 0.5), np.full((2, 1), np.nan))
    assert all(math.isnan(value) for value in table.macro.values())
    assert table.to_json("x")["odir"]["final"] is None


def test_groups_average_their_own_classes() -> None:
    rng = np.random.default_rng(2)
    probs, targets = rng.random((60, 4)), rng.integers(0, 2, (60, 4))
    names = ["a", "b", "c", "d"]
    counts = {"a": 100, "b": 50, "c": 10, "d": 5}
    groups = by_thirds(names, list(counts.values()))
    table = score(probs, targets, label_names=names, groups=groups, train_positives=counts)
    assert groups == {"head": ["a", "b"], "medium": ["c"], "tail": ["d"]}
    for measure in MEASURES.names():
        head = [row[measure] for row in table.per_class[:2]]
        assert table.groups["head"][measure] == pytest.approx(np.mean(head))
    assert table.groups["head"]["train_pos"] == [50, 100]


def test_classes_that_were_not_learned_stand_outside_all_means() -> None:
    """The learned classes alone give every mean; the others keep their line."""
    rng = np.random.default_rng(3)
    probs, targets = rng.random((80, 5)), rng.integers(0, 2, (80, 5))
    names, kept = ["a", "b", "c", "d", "e"], [0, 1, 3]
    counts = {"a": 40, "b": 20, "c": 0, "d": 9, "e": 70}
    known = {"a": 70, "b": 70, "c": 70, "d": 70, "e": 70}  # c has no positive, e no negative
    groups = {"head": ["a", "e"], "medium": ["b"], "tail": ["c", "d"]}
    table = score(
        probs, targets, label_names=names, groups=groups, train_positives=counts, train_known=known, groups_by="hand"
    )
    learned = score(probs[:, kept], targets[:, kept], label_names=["a", "b", "d"])
    everything = score(probs, targets, label_names=names)
    assert table.not_learned == ("c", "e")
    assert table.macro == learned.macro != everything.macro
    assert table.n_classes == learned.n_classes == dict.fromkeys(MEASURES.names(), 3)
    assert [row["auroc"] for row in table.per_class] == [row["auroc"] for row in everything.per_class]
    assert table.groups["head"]["labels"] == ["a"]
    assert table.groups["tail"] == table.groups["tail"] | {"labels": ["d"], "train_pos": [9, 9]}
    assert table.groups["tail"]["auroc"] == table.per_class[3]["auroc"]
    assert table.odir == everything.odir  # as it is defined
    content = table.to_json("test")
    assert content["not_learned"] == ["c", "e"]
    assert content["groups_by"] == "hand"
    assert [row["label"] for row in content["per_class"]] == names
    assert score(probs, targets, label_names=names, train_positives=counts).not_learned == ("c",)


def test_how_groups_were_cut_is_said() -> None:
    rule = GroupsSection().model_dump()
    assert describe_rule(rule) == "thirds of the labels by training positives"
    assert describe_rule(rule | {"rule": "counts"}) == "training positives, head above 100, tail below 20"
    assert "tail up to 0.333, head from 0.667" in describe_rule(rule | {"rule": "quantiles"})
    assert describe_rule(rule | {"rule": "named"}) == "named by the recipe, not cut by training positives"


@pytest.mark.parametrize("name", ["nih", "odir5k"])
def test_the_head_classes_of_ldrnet_are_named_by_the_paper(name: str) -> None:
    rule = describe_rule(load_recipe(name).metrics.groups.model_dump())
    assert rule == "named by the paper (LDRNet, section 4.1), not cut by training positives"


def test_group_rules() -> None:
    names, counts = ["a", "b", "c"], [19, 20, 101]
    assert by_counts(names, counts, 100, 20) == {"head": ["c"], "medium": ["b"], "tail": ["a"]}
    assert by_quantiles(names, counts, 1 / 3, 2 / 3) == {"head": ["c"], "medium": ["b"], "tail": ["a"]}
    assert by_name(names, ["b"], []) == {"head": ["b"], "medium": [], "tail": ["a", "c"]}
    with pytest.raises(InputError, match="'B'.*did you mean 'b'"):
        by_name(names, ["B"], [])


@pytest.mark.parametrize(
    ("probs", "targets", "message"),
    [
        (np.zeros((2, 2)), np.zeros((2, 3)), "one shape"),
        (np.zeros((2, 2)), np.full((2, 2), 2.0), "0, 1 or NaN"),
        (np.full((2, 2), np.nan), np.zeros((2, 2)), "without NaN"),
    ],
)
def test_wrong_input_is_refused(probs: np.ndarray, targets: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        score(probs, targets)


def test_every_class_can_have_a_threshold_of_its_own() -> None:
    rng = np.random.default_rng(3)
    probs, targets = rng.random((60, 3)), rng.choice([0.0, 1.0, np.nan], (60, 3))
    limits = [0.2, 0.5, 0.9]
    table = score(probs, targets, threshold=limits)
    for c, limit in enumerate(limits):
        (alone,) = score(probs[:, [c]], targets[:, [c]], threshold=limit).per_class
        assert table.per_class[c] == alone | {"label": str(c)}
    moved = np.clip(probs - np.array(limits) + 0.5, 0, 1)  # the same answers at 0.5
    for measure in ("kappa", "f1"):
        assert table.odir[measure] == pytest.approx(score(moved, targets).odir[measure])
    assert table.to_json("test")["threshold"] == limits
    assert score(probs, targets, threshold=[0.5] * 3).macro == score(probs, targets).macro


def test_thresholds_are_one_or_one_per_class() -> None:
    with pytest.raises(InputError, match="Expected one threshold or 3 but got 2"):
        score(np.zeros((2, 3)), np.zeros((2, 3)), threshold=[0.5, 0.5])


def test_changes_are_differences_and_undefined_stays_null() -> None:
    targets = np.array([[1, 0], [0, 0]], dtype=float)
    before = score([[0.2, 0.1], [0.4, 0.1]], targets, groups={"head": ["0"]}).to_json("test")
    after = score([[0.6, 0.1], [0.4, 0.1]], targets, groups={"head": ["0"]}).to_json("test")
    change = changes(before, after)
    assert change["macro"]["auroc"] == 1.0
    assert change["groups"]["head"]["auroc"] == 1.0
    assert change["per_class"][1]["auroc"] is None


def test_a_table_is_a_frame_of_its_classes_and_prints_a_few_lines() -> None:
    probs, targets = np.array([[0.2, 0.8], [0.6, 0.4], [0.1, 0.9]]), np.array([[0.0, 1], [1, 0], [0, np.nan]])
    table = score(probs, targets, label_names=["edema", "mass"])
    frame = table.to_frame()
    assert frame.index.tolist() == ["edema", "mass"]
    assert frame.loc["mass", "n_known"] == 2
    assert frame.loc["edema", "auroc"] == table.per_class[0]["auroc"]
    lines = repr(table).splitlines()
    assert lines[0] == "MetricTable of 2 classes"
    assert "  auroc: 1.0000 over 2 classes" in lines
    assert len(lines) <= 10

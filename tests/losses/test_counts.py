"""Counts of the training labels: what losses make of them, and what is refused."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
import torch

import ltml
from ltml.errors import InputError
from ltml.losses.counts import clipped_frequencies, effective_number_weights, positive_weights, read_labels
from ltml.losses.ldam import ldam_margins
from ltml.registry import LOSSES

NEED_COUNTS = [name for name in ltml.list_losses() if LOSSES.needs(name)]
LOGITS, TARGETS = torch.zeros(2, 3), torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])


def _create(name: str, class_counts: Any, num_samples: Any) -> Any:
    given = {"class_counts": class_counts, "num_samples": num_samples}
    return ltml.create_loss(name, **{key: given[key] for key in LOSSES.needs(name)})


def test_which_losses_need_counts() -> None:
    assert NEED_COUNTS == ["auc_margin", "cb", "db", "ldam", "logit_adjust", "weighted_bce"]
    assert LOSSES.needs("bce") == []


@pytest.mark.parametrize("name", NEED_COUNTS)
def test_counts_may_be_lists_arrays_or_tensors_and_one_number_of_samples_is_for_all(name: str) -> None:
    expected = _create(name, [9, 5, 2], [20, 20, 20])(LOGITS, TARGETS)
    for counts, samples in (
        ((9, 5, 2), 20),
        (np.array([9, 5, 2]), np.array([20, 20, 20])),
        (torch.tensor([9, 5, 2]), torch.tensor(20)),
        (np.array([9, 5, 2], dtype=np.uint16), np.int64(20)),
    ):
        torch.testing.assert_close(_create(name, counts, samples)(LOGITS, TARGETS), expected)


@pytest.mark.parametrize("name", NEED_COUNTS)
def test_counts_are_no_options_and_not_part_of_a_checkpoint(name: str) -> None:
    assert not {"class_counts", "num_samples"} & set(LOSSES.options(name).model_fields)
    state = _create(name, [9, 5, 2], 20).state_dict()
    assert set(state) == ({"a", "b", "alpha"} if name == "auc_margin" else set())


@pytest.mark.parametrize("name", NEED_COUNTS)
def test_a_loss_for_other_classes_says_so(name: str) -> None:
    with pytest.raises(InputError, match="made for 2 classes but got logits of 3"):
        _create(name, [9, 5], 20)(LOGITS, TARGETS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "loss 'db' needs class_counts and num_samples, by name"),
        ({"class_counts": [1, 2]}, "loss 'db' needs num_samples, by name; see help(DBLoss)"),
        ({"class_counts": [1, 2], "num_samples": 5, "kapa": 1}, "no option 'kapa': did you mean 'kappa'"),
        ({"class_counts": [[1, 2]], "num_samples": 5}, "one number per class but got shape (1, 2)"),
        ({"class_counts": [], "num_samples": 5}, "one number per class but got shape (0,)"),
        ({"class_counts": [-1, 2], "num_samples": 5}, "class_counts of 0 or more but got [-1.0, 2.0]"),
        ({"class_counts": [math.nan, 2], "num_samples": 5}, "class_counts of 0 or more"),
        ({"class_counts": ["a", "b"], "num_samples": 5}, "class_counts as numbers but got ['a', 'b']"),
        ({"class_counts": [1, 2], "num_samples": None}, "num_samples as numbers but got None"),
        ({"class_counts": [1, 2], "num_samples": [5, 5, 5]}, "one number or one per class (2) but got shape (3,)"),
        ({"class_counts": [1, 9], "num_samples": 5}, "num_samples of at least class_counts [1.0, 9.0] but got 5"),
        ({"class_counts": [1, 2], "num_samples": math.inf}, "num_samples of at least"),
    ],
)
def test_wrong_counts_are_explained(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        ltml.create_loss("db", **options)


def test_a_loss_without_counts_takes_none() -> None:
    with pytest.raises(InputError, match="loss 'bce' has no option 'class_counts'"):
        ltml.create_loss("bce", class_counts=[1, 2])


def test_classes_without_known_positives_or_negatives_or_labels() -> None:
    positives, entries = read_labels([0, 10, 4, 0], [10, 10, 10, 0])
    assert clipped_frequencies(positives, entries).tolist() == [0.05, 0.95, 0.4, 0.5]
    assert positive_weights(positives, entries - positives).tolist() == [1.0, 0.0, 1.5, 1.0]
    weights = effective_number_weights(positives, 0.9)
    of_ten, of_four = (0.1 / (1 - 0.9**n) for n in (10, 4))
    mean = (of_ten + of_four) / 2
    assert weights.tolist() == pytest.approx([1, of_ten / mean, of_four / mean, 1])
    assert ldam_margins(positives, 0.5).tolist() == pytest.approx([0.5, 0.5 * (10 / 4) ** -0.25, 0.5, 0.5])
    nothing = torch.zeros(2, dtype=torch.float64)
    assert effective_number_weights(nothing, 0.9).tolist() == [1, 1]
    assert ldam_margins(nothing, 0.5).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("name", ["two_way", "mlsl", "db"])
def test_losses_of_sets_of_positives_refuse_soft_targets_where_known(name: str) -> None:
    loss = _create(name, [9, 5, 2], 20)
    soft = TARGETS.clone()
    soft[0, 1] = 0.25
    with pytest.raises(InputError, match=f"targets of 0 or 1 but got 0.25: the loss '{name}'"):
        loss(LOGITS, soft)
    known = torch.ones_like(soft, dtype=torch.bool)
    known[0, 1] = False
    torch.testing.assert_close(loss(LOGITS, soft, known), loss(LOGITS, TARGETS, known))


@pytest.mark.parametrize("name", ["two_way", "mlsl"])
def test_losses_that_couple_entries_have_none_of_a_single_one(name: str) -> None:
    with pytest.raises(InputError, match="reduction = 'none'"):
        ltml.create_loss(name, reduction="none")


def test_two_way_and_mlsl_of_a_batch_without_positives_are_zero() -> None:
    for name in ("two_way", "mlsl"):
        assert ltml.create_loss(name)(LOGITS, torch.zeros_like(TARGETS)).item() == 0

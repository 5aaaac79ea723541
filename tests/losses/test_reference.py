"""Every entry of the reference values: the authors' own code on one batch, value and gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ltml

ORACLE = np.load(Path(__file__).parents[1] / "data" / "losses.npz")
LOGITS, TARGETS, KNOWN = (
    torch.from_numpy(array) for array in (ORACLE["logits"], ORACLE["targets"], ~ORACLE["unknown"])
)
COUNTS = {"class_counts": ORACLE["class_counts"], "num_samples": float(ORACLE["num_samples"])}
DB = "db_{}_lambda{}_kappa0.05_a0.1_b10_mu{}_mean"

ENTRIES: list[tuple[str, str, dict[str, Any]]] = [
    ("bce_mean", "bce", {}),
    ("focal_a0.25_g2_mean", "focal", {}),
    ("focal_noalpha_g2_mean", "focal", {"alpha": None}),
    ("asl_gneg4_gpos1_clip0.05_sum", "asl", {"reduction": "sum"}),
    ("asl_gneg4_gpos0_clip0.05_sum", "asl", {"gamma_pos": 0.0, "reduction": "sum"}),
    ("asl_gneg4_gpos1_clip0.05_detached_sum", "asl", {"detach_weight": True, "reduction": "sum"}),
    ("ral_sum", "ral", {"reduction": "sum"}),
    ("two_way_tp4_tn1", "two_way", {}),
    ("two_way_tp4_tn1_unknown_masked", "two_way", {}),
    (DB.format("coco", 2, 0.2), "db", COUNTS),
    (DB.format("voc", 5, 0.3), "db", {"scale": 5.0, "mu": 0.3, **COUNTS}),
]


def _value_and_gradient(loss: Any, known: Tensor | None) -> tuple[float, np.ndarray]:
    logits = LOGITS.clone().requires_grad_()
    value = loss(logits, TARGETS, known)
    value.backward()
    assert logits.grad is not None
    return value.item(), logits.grad.numpy()


def test_every_entry_is_compared() -> None:
    given = {"logits", "targets", "unknown", "class_counts", "num_samples"}
    names = {name.removesuffix(".grad") for name in ORACLE.files} - given
    assert names == {entry for entry, _, _ in ENTRIES}


@pytest.mark.parametrize(("entry", "name", "options"), ENTRIES, ids=[entry for entry, _, _ in ENTRIES])
def test_value_and_gradient_are_those_of_the_authors_code(entry: str, name: str, options: dict[str, Any]) -> None:
    known = KNOWN if entry.endswith("unknown_masked") else None
    value, gradient = _value_and_gradient(ltml.create_loss(name, **options), known)
    tolerance = 1e-5 if name == "db" else 1e-6  # those of db were computed in float32
    assert value == pytest.approx(float(ORACLE[entry]), rel=tolerance)
    expected = ORACLE[f"{entry}.grad"]
    floor = tolerance * np.abs(expected).max() if name == "db" else 1e-12
    np.testing.assert_allclose(gradient, expected, rtol=tolerance, atol=floor)


@pytest.mark.parametrize(("entry", "name", "options"), [e for e in ENTRIES if e[1] != "two_way"])
def test_the_mean_is_the_sum_over_the_number_of_entries(entry: str, name: str, options: dict[str, Any]) -> None:
    value, gradient = _value_and_gradient(ltml.create_loss(name, **{**options, "reduction": "mean"}), None)
    scale = 1 if entry.endswith("_mean") else LOGITS.numel()
    assert value * scale == pytest.approx(float(ORACLE[entry]), rel=1e-5 if name == "db" else 1e-6)
    np.testing.assert_allclose(gradient * scale, ORACLE[f"{entry}.grad"], rtol=1e-5, atol=1e-7)

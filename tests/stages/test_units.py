"""Predictions for patients out of rows that are eyes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fixtures.datasets import odir5k

from ltml.data.datasets.odir5k import join_eyes
from ltml.data.subset import hold_out
from ltml.metrics.odir import odir_score
from ltml.models.model import Stage1Model
from ltml.recipe.load import load_recipe
from ltml.stages.build import build_dataset, build_loader, build_model
from ltml.stages.predict import to_predictions

SMALL = (
    "data.image_size=32",
    "data.resize=32",
    "train.epochs=1",
    "backbone={name: resnet18, pretrained: false}",
    "text={encoder: none}",
    "head.prompt_query.width=32",
    "data.split.stratify=true",
    "metrics.groups={}",
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return odir5k.build(tmp_path_factory.mktemp("odir"))


def test_a_patient_s_probability_is_the_mean_over_the_eyes(tree: Path) -> None:
    dataset = build_dataset(load_recipe("odir5k", [f"data.root={tree}", *SMALL]))
    assert dataset.units is not None
    rows = dataset.splits["test"]
    probs = np.random.default_rng(0).random((len(rows), 8))
    answers = to_predictions(probs, dataset, "test")
    eyes = dataset.table.iloc[rows].reset_index(drop=True)
    assert len(set(answers.ids)) == len(answers.ids) == eyes["group"].nunique() < len(rows)
    for number, patient in enumerate(answers.ids):
        own = np.flatnonzero(eyes["group"] == patient)
        np.testing.assert_allclose(answers.probs[number], probs[own].mean(axis=0), rtol=1e-12)
        assert answers.groups[number] == patient
        unit = list(dataset.units.ids).index(patient)
        np.testing.assert_array_equal(answers.targets[number], dataset.units.codes[unit])


def test_max_joins_the_eyes_as_their_labels_are_joined(tree: Path) -> None:
    """Of eyes that are sure, the patient's answer is the label that `join_eyes` gives; of others the surest eye's."""
    dataset = build_dataset(load_recipe("odir5k", [f"data.root={tree}", "data.eyes=max", *SMALL]))
    rows = dataset.splits["test"]
    rng = np.random.default_rng(0)
    probs, sure = rng.random((len(rows), 8)), rng.integers(0, 2, (len(rows), 8))
    answers, certain = to_predictions(probs, dataset, "test"), to_predictions(sure.astype(float), dataset, "test")
    eyes = dataset.table.iloc[rows].reset_index(drop=True)
    pairs = 0
    for number, patient in enumerate(answers.ids):
        own = np.flatnonzero(eyes["group"] == patient)
        expected = [probs[own, 0].min(), *probs[own, 1:].max(axis=0)]
        assert answers.probs[number].tolist() == expected
        if len(own) == 2:
            pairs += 1
            left, right = (sure[[row]].astype(np.int8) for row in own)
            assert certain.probs[number].tolist() == join_eyes(left, right)[0].tolist()
    assert pairs > 2


def test_max_and_mean_train_on_the_same_eyes_and_are_different_data(tree: Path) -> None:
    mean, most = (
        build_dataset(load_recipe("odir5k", [f"data.root={tree}", f"data.eyes={eyes}", *SMALL]))
        for eyes in ("mean", "max")
    )
    assert np.array_equal(mean.targets, most.targets)
    assert mean.ids("train").tolist() == most.ids("train").tolist()
    assert mean.fingerprint() != most.fingerprint()
    few = hold_out(most, ["C"])
    assert few.units is not None
    assert few.units.choice[0].tolist() == [-1, 1, 1, 1, 1, 1, 1]


def test_a_union_keeps_how_each_source_joins_its_eyes(tree: Path) -> None:
    sources = "data.sources=[{type: odir5k, name: a, eyes: max}, {type: odir5k, name: b, eyes: mean}]"
    roots = f"data.roots={{a: {tree}, b: {tree}}}"
    small = [option for option in SMALL if not option.startswith("metrics")]
    dataset = build_dataset(load_recipe("cxr_union", [sources, roots, "data.labels=[D, N]", *small]))
    assert dataset.units is not None
    of_a = np.array([name.startswith("a:") for name in dataset.units.ids])
    assert 0 < of_a.sum() < len(of_a)
    assert (dataset.units.choice[of_a] == [1, -1]).all()
    assert (dataset.units.choice[~of_a] == 0).all()


@pytest.mark.parametrize("eyes", ["mean", "max", "concat"])
def test_both_stages_score_patients_officially(cli, tree: Path, tmp_path: Path, eyes: str) -> None:
    options = (f"data.root={tree}", f"data.eyes={eyes}", *SMALL)
    result = cli("run", "odir5k", *options, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    (run,) = tmp_path.rglob("seed0")
    dataset = build_dataset(load_recipe("odir5k", options))
    patients = dataset.table["group"].iloc[dataset.splits["test"]].nunique()
    for stage, folder in ((1, next(tmp_path.rglob("_stage1")).glob("[!.]*")), (2, [run / "stage2"])):
        table = pd.read_csv(next(iter(folder)) / "predictions_test.csv")
        assert len(table) == patients
        metrics = json.loads((run / f"stage{stage}" / "metrics.json").read_text())
        assert metrics["per_class"][0]["n_known"] == patients
        probs, targets = (table[[f"{kind}:{name}" for name in "NDGCAHMO"]] for kind in ("prob", "target"))
        assert metrics["odir"] == pytest.approx(odir_score(probs, targets))


def test_concatenated_features_are_those_of_each_eye_side_by_side(tree: Path) -> None:
    recipe = load_recipe("odir5k", [f"data.root={tree}", "data.eyes=concat", *SMALL])
    dataset = build_dataset(recipe)
    assert dataset.images_per_row == 2
    (batch, *_) = build_loader(recipe, dataset, "test", torch.device("cpu")).epoch()
    assert batch.images.shape[1:] == (6, 32, 32)
    model = build_model(recipe, dataset.label_names, None, pretrained=False, images_per_row=2).eval()
    with torch.no_grad():
        output = model(batch.images)
        alone = Stage1Model(model.backbone, model.head, [0.0] * 3, [1.0] * 3).eval()
        alone.mean, alone.std = model.mean, model.std
        eyes = [alone.features(batch.images[:, start : start + 3]) for start in (0, 3)]
    assert output.features.shape == (len(batch.images), 8, 64)
    torch.testing.assert_close(output.features, torch.cat(eyes, dim=-1), rtol=1e-4, atol=1e-5)
    assert output.logits.shape == (len(batch.images), 8)


@pytest.mark.parametrize("eyes", ["max", "concat"])
@pytest.mark.parametrize("method", ["bce", "label_adapter"])
def test_every_head_takes_both_eyes(cli, tree: Path, tmp_path: Path, method: str, eyes: str) -> None:
    options = (f"data.root={tree}", f"data.eyes={eyes}", f"method={method}", *SMALL)
    result = cli("stage1", "odir5k", *options, "--out", tmp_path)
    assert result.exit_code == 0, result.output


def test_each_eye_has_a_view_of_its_own(tree: Path) -> None:
    invert = "data.views.train=[{RandomInvert: {p: 0.5}}]"
    recipe = load_recipe("odir5k", [f"data.root={tree}", "data.eyes=concat", invert, *SMALL])
    dataset = build_dataset(recipe)
    loader = build_loader(recipe, dataset, "train", torch.device("cpu"), training=True)
    seen = set()
    for batch in loader.epoch():
        for image, row in zip(batch.images, batch.rows.tolist(), strict=True):
            plain = torch.from_numpy(dataset.images.read(row).transpose(2, 0, 1).copy())
            eyes = list(zip(image.chunk(2), plain.chunk(2), strict=True))
            inverted = tuple(not torch.equal(shown, own) for shown, own in eyes)
            for is_inverted, (shown, own) in zip(inverted, eyes, strict=True):
                assert torch.equal(shown, 255 - own if is_inverted else own)
            seen.add(inverted)
    assert len(seen) == 4  # one eye inverted, the other, both, none

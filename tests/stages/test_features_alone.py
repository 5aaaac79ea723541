"""Stage 2 on embeddings from elsewhere: no images, no backbone."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from typer.testing import Result

import ltml
from ltml.errors import InputError
from ltml.metrics.patient_inputs import NO_PATIENTS
from ltml.metrics.predictions import Predictions
from ltml.stages import external_features as feature_files
from ltml.stages import probe
from ltml.stages.describe_gaussians import describe_gaussians
from ltml.stages.external_features import join_feature_files, read_feature_file
from ltml.stages.features import load_features
from ltml.stages.run_directory import read_run
from ltml.types import FeatureSet

Cli = Callable[..., Result]
Files = dict[str, Path]
NAMES = ["common", "seldom", "rare"]


def _write(path: Path, rows: int, seed: int, **changes: Any) -> Path:
    rng = np.random.default_rng(seed)
    targets = (rng.random((rows, 3)) < [0.5, 0.2, 0.08]).astype(np.float64)
    features = (rng.normal(size=(rows, 3, 8)) + targets[..., None] * np.linspace(0, 1.2, 8)).astype(np.float32)
    targets[rng.random(targets.shape) < 0.1] = np.nan
    arrays = {"features": features, "targets": targets, "label_names": np.array(NAMES)} | changes
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return {
        split: _write(tmp_path / f"{split}.npz", rows, seed)
        for seed, (split, rows) in enumerate({"train": 600, "val": 300, "test": 400}.items())
    }


def _options(files: Files) -> list[str]:
    return ["--features", str(files["train"]), "--val", str(files["val"]), "--test", str(files["test"])]


def test_a_run_on_feature_files(cli: Cli, files: Files, tmp_path: Path) -> None:
    command = ["stage2", "digits", *_options(files), "--out", str(tmp_path / "runs"), "--json"]
    result = cli(*command)
    assert result.exit_code == 0, result.stderr
    assert "round 0, the M step alone" in result.stderr
    content = json.loads(result.stdout)
    macro = [content[stage]["macro"] for stage in ("stage1", "stage2")]
    assert macro[1]["auroc"] > 0.7
    assert macro[1] != macro[0]
    run = Path(content["run_dir"])
    assert run.parent.name.startswith("ldrnet-features-")
    for name in ("recipe.yaml", "labels.json", "gaussians.safetensors", "stage2/predictions_test.csv", "changes.json"):
        assert (run / name).is_file()
    again = cli(*command)
    assert json.loads(again.stdout) == content
    evaluated = cli("evaluate", str(run), "--json")
    assert json.loads(evaluated.stdout)["stage2"] == content["stage2"]
    described = json.loads(cli("gaussians", str(run), "--json").stdout)
    assert [entry["label"] for entry in described["labels"]] == NAMES


def test_stage_1_is_a_logistic_regression_on_known_samples(files: Files, tmp_path: Path) -> None:
    result = ltml.stage2(ltml.load_recipe("digits"), tmp_path / "runs", features=files)
    answers = Predictions.read(read_run(result.run_dir)[0].predictions(1, "test"))
    train, test = np.load(files["train"]), np.load(files["test"])
    for c in range(3):
        known = ~np.isnan(train["targets"][:, c])
        model = LogisticRegression(C=1 / (1e-4 * known.sum()), tol=1e-8)
        model.fit(train["features"][known, c], train["targets"][known, c])
        expected = model.predict_proba(test["features"][:, c])[:, 1]
        np.testing.assert_allclose(answers.probs[:, c], expected, atol=2e-3)


@pytest.mark.parametrize(
    "overrides",
    [
        ["stage2.solver=expected", "stage2.restore_prior=true"],
        ["stage2.method=bias_shift"],
        ["stage2.method=logit_adjust"],
        ["stage2.method=tau_norm"],
        ["stage2.method=crt", "stage2.m_step.epochs=20", "stage2.m_step.lr=0.01"],
        ["stage2.method=smote"],
        ["stage2.method=mixup"],
    ],
)
def test_variants_run_on_features(files: Files, tmp_path: Path, overrides: list[str]) -> None:
    result = ltml.stage2(ltml.load_recipe("digits", overrides), tmp_path / "runs", features=files)
    assert result.stage2 is not None
    assert result.stage2["macro"]["auroc"] > 0.7


def test_the_features_of_a_run_give_its_own_stage_2(tiny_run: Path, tmp_path: Path) -> None:
    """Stage 1's store written as feature files: the expected solver finds the same Gaussians and classifier."""
    run, _ = read_run(tiny_run)
    paths: Files = {}
    for split in ("train", "val"):
        store = load_features(run.features, split)
        names = describe_gaussians(tiny_run)["labels"]
        arrays = {"features": store.features, "targets": store.masked_targets(), "ids": store.ids.astype(str)}
        paths[split] = tmp_path / f"{split}.npz"
        np.savez(paths[split], label_names=np.array([entry["label"] for entry in names]), **arrays)
    recipe = ltml.load_recipe("digits_tiny", ["stage2.solver=expected", "stage2.rounds=0"])
    alone = ltml.stage2(recipe, tmp_path / "runs", features=paths)
    whole = ltml.stage2(recipe, tiny_run.parents[2])
    assert (alone.run_dir / "gaussians.safetensors").read_bytes() == (
        whole.run_dir / "gaussians.safetensors"
    ).read_bytes()
    first, second = (Predictions.read(r.run_dir / "stage2" / "predictions_val.csv").probs for r in (alone, whole))
    np.testing.assert_allclose(first, second, atol=1e-4)
    assert alone.stage2 is None  # no test features were given
    assert set(alone.splits) == {"val"}


def test_half_precision_shared_features_with_ids_and_groups(cli: Cli, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    paths = {}
    for split, rows in (("train", 200), ("val", 100)):
        ids = np.array([f"{split}{i}" for i in range(rows)])
        groups = np.array([f"{split}-patient{i // 2}" for i in range(rows)])
        targets = rng.integers(0, 2, size=(rows, 3))
        shared = (rng.normal(size=(rows, 6)) + targets[:, :1]).astype(np.float16)
        paths[split] = _write(
            tmp_path / f"{split}.npz", rows, 0, features=shared, targets=targets, ids=ids, groups=groups
        )
    result = cli(
        "stage2", "digits", "--features", str(paths["train"]), "--val", str(paths["val"]), "--out", str(tmp_path)
    )
    assert result.exit_code == 0, result.stderr
    (predictions,) = tmp_path.glob("digits/*/seed0/stage2/predictions_val.csv")
    assert Predictions.read(predictions).groups[:3] == ["val-patient0", "val-patient0", "val-patient1"]


def _with_large_number() -> np.ndarray:
    """Finite in float32, but its square is not."""
    features = np.zeros((300, 3, 8))
    features[7, 1, 2] = -1e30
    return features


def _bad(**changes: Any) -> Callable[[Path], Path]:
    return lambda folder: _write(folder / "bad.npz", 300, 1, **changes)


def _text(folder: Path) -> Path:
    path = folder / "bad.npz"
    path.write_text("not an archive")
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_bad(targets=None), "lacks targets"),
        (_bad(targets=np.full((300, 3), 2.0)), "targets must be 0, 1 or NaN, not 2.0"),
        (_bad(targets=np.full((300, 3), "x")), "targets must be numbers"),
        (_bad(label_names=np.array(["a", "b"])), "do not fit together"),
        (_bad(label_names=np.array(["a", "b", "b"])), "a name twice"),
        (_bad(label_names=np.array(["a", "b", "c"])), "do not fit together: labels common"),
        (_bad(features=np.full((300, 3, 8), np.nan)), "features hold NaN"),
        (_bad(features=np.full((300, 3, 8), "x")), "must be numbers"),
        (_bad(features=np.zeros((300, 3, 0))), "must be numbers"),
        (_bad(label_names=np.array(["a", "b", "c\n"])), "without line breaks"),
        (_bad(features=np.zeros((300, 3, 7))), "do not fit together"),
        (_bad(ids=np.arange(5)), "300 rows but 5 ids"),
        (_bad(ids=np.arange(300)[:, None]), "must have one dimension"),
        (_bad(features=np.full((300, 3, 8), 1e300)), "too large for float32"),
        (_bad(features=_with_large_number()), "first in row 8, id 'val-7'"),
        (_bad(ids=np.full(300, "train-1")), "ids appear more than once: train-1"),
        (_bad(groups=np.full(300, "train-1")), "in more than one split: train-1"),
        (_bad(ids=np.array([None] * 300)), "text must be stored as numpy text"),
        (_bad(features=np.full((300, 3, 8), None)), "text must be stored as numpy text"),
        *((_bad(**{name: np.arange(300)}), f"'{name}' is not read: rename it to groups") for name in (
            "group", "Groups", "patients", "patient_id", "subject"
        )),
        *((_bad(**{name: np.ones((300, 3))}), f"'{name}' is not read: rename it to known") for name in (
            "mask", "Known"
        )),
        *((_bad(**{name: np.arange(300)}), f"'{name}' is not read: rename it to ids") for name in (
            "id", "IDs", "image_id"
        )),
        *((_bad(**{name: np.full(300, "val")}), f"'{name}' is not read: give one file") for name in ("split", "fold")),
        (_bad(ids=np.arange(300), Ids=np.arange(300)), "'Ids' is not read: the file has ids too"),
        *((_bad(targets=None, **{name: np.zeros((300, 3))}), "lacks targets; needed are features, targets, "
           f"label_names, optional known, ids, groups; is '{name}' meant as targets?") for name in (
            "y", "labels", "Targets"
        )),
        *((_bad(features=None, **{name: np.zeros((300, 3, 8))}), f"is '{name}' meant as features?") for name in (
            "X", "embeddings", "Features"
        )),
        (_bad(label_names=None, classes=np.array(NAMES)), "is 'classes' meant as label_names?"),
        (_bad(known=np.ones((300, 2))), "known must be true or false (300, 3)"),
        (_bad(known=np.full((300, 3), 2)), "known must be true or false"),
        (_bad(known=np.ones((300, 3))), "known is true where targets are NaN"),
        (_bad(targets=np.full((300, 3), -1)), "not -1.0 (-1: uncertain or unknown? write NaN, never a negative)"),
        (_bad(groups=np.array(["a"] * 299 + [""])), "groups[299] is empty (1 such)"),
        (_bad(groups=np.array([1.0] * 299 + [np.nan])), "groups[299] is empty (1 such)"),
        (_bad(ids=np.array(["a"] * 299 + ["nan"])), "ids[299] is empty"),
        (_bad(groups=np.array(["7"] * 299 + ["7.0"])), "the groups '7' and '7.0' differ only in"),
        (_bad(groups=np.arange(300)), "has no array `groups`, but another split has"),
        (_text, "is not an .npz"),
        (lambda folder: folder / "absent.npz", "absent.npz"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_used_are_refused(
    cli: Cli, files: Files, tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    files["val"] = make(tmp_path)
    result = cli("stage2", "digits", *_options(files), "--out", str(tmp_path / "runs"))
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "runs").exists()


def test_what_needs_images_is_refused(cli: Cli, files: Files, tmp_path: Path) -> None:
    for override in ("stage2.method=continue", "stage2.method=none"):
        result = cli("stage2", "digits", override, *_options(files), "--out", str(tmp_path / "runs"))
        assert result.exit_code == 2
        assert "does nothing on stored features" in result.stderr
    result = cli("stage2", "digits", "--features", str(files["train"]))
    assert result.exit_code == 2
    assert "needed for train and val, and may be given for test, not for train" in result.stderr
    with pytest.raises(InputError, match="needed for train and val"):
        ltml.stage2(ltml.load_recipe("digits"), tmp_path, features={})


def test_what_is_unknown_in_train_may_be_nan_and_text_may_be_bytes(tmp_path: Path) -> None:
    paths = {}
    for seed, split in enumerate(("train", "val")):
        paths[split] = _write(tmp_path / f"{split}.npz", 300, seed, label_names=np.array(NAMES, dtype="S"))
    with np.load(paths["train"]) as archive:
        arrays = dict(archive)
    arrays["features"] = np.where(np.isnan(arrays["targets"])[..., None], np.nan, arrays["features"]).astype(">f4")
    np.savez_compressed(paths["train"], **arrays)
    result = ltml.stage2(ltml.load_recipe("digits"), tmp_path, features=paths)
    assert [row["label"] for row in result.splits["val"]["stage2"]["per_class"]] == NAMES


def test_one_file_for_two_splits_is_refused(files: Files, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the same features are given for more than one"):
        ltml.stage2(ltml.load_recipe("digits"), tmp_path, features={"train": files["train"], "val": files["train"]})


def test_without_test_features_the_scores_of_val_are_shown(cli: Cli, files: Files, tmp_path: Path) -> None:
    result = cli(
        "stage2", "digits", "--features", str(files["train"]), "--val", str(files["val"]), "--out", str(tmp_path)
    )
    assert "Means over classes on val" in result.stdout


def test_stage_1_does_not_depend_on_how_features_are_scaled(files: Files, tmp_path: Path) -> None:
    """With little penalty the regression on features a thousand times as large answers the same."""
    probs = []
    for scale in (1.0, 1000.0):
        paths = {split: tmp_path / f"{split}{scale}.npz" for split in ("train", "val")}
        for split, path in paths.items():
            with np.load(files[split]) as archive:
                np.savez(path, **dict(archive) | {"features": archive["features"] * scale})
        override = f"stage2.m_step.l2={1e-6 * scale**2}"
        result = ltml.stage2(ltml.load_recipe("digits", [override]), tmp_path / str(scale), features=paths)
        probs.append(Predictions.read(result.run_dir / "stage1" / "predictions_val.csv").probs)
    np.testing.assert_allclose(probs[1], probs[0], atol=1e-4)


def test_damaged_archives_are_refused(files: Files, tmp_path: Path) -> None:
    with np.load(files["val"]) as archive:
        np.savez_compressed(files["val"], **dict(archive))
    whole = files["val"].read_bytes()
    for place in range(40, len(whole) - 40, len(whole) // 40):
        files["val"].write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with suppress(InputError):  # or, where the byte does not matter, it is read
            read_feature_file(files["val"], "val")


@pytest.mark.parametrize(
    ("train", "val"),
    [
        (np.arange(600) + 1000, np.arange(300) + 1599),
        (np.arange(600.0), np.arange(300) + 599),
        (np.array([f"{i}" for i in range(600)]), np.array([f"{i:04d}" for i in range(599, 899)])),
        (np.array([f"p{i}" for i in range(600)]), np.array([f"P{i} " for i in range(599, 899)])),
        (np.array([f"p{i}" for i in range(600)], dtype="S"), np.array([f"p{i}" for i in range(599, 899)])),
        (np.array([f"{i}.0" for i in range(600)]), np.arange(599.0, 899.0)),
    ],
)
def test_a_patient_in_two_splits_is_found_in_every_form(tmp_path: Path, train: Any, val: Any) -> None:
    files = {
        "train": read_feature_file(_write(tmp_path / "train.npz", 600, 0, groups=train), "train"),
        "val": read_feature_file(_write(tmp_path / "val.npz", 300, 1, groups=val), "val"),
    }
    with pytest.raises(InputError, match=r"groups are in more than one split: |groups '.*' and '.*' differ only"):
        join_feature_files(files)
    apart = files | {
        "val": read_feature_file(_write(tmp_path / "val.npz", 300, 1, groups=np.arange(5000, 5300)), "val")
    }
    assert join_feature_files(apart).table["group"].nunique() == 900


def test_without_groups_the_user_hears_that_no_patients_are_known(cli: Cli, files: Files, tmp_path: Path) -> None:
    result = cli("stage2", "digits", "stage2.method=bias_shift", *_options(files), "--out", str(tmp_path / "runs"))
    assert f"warning: {NO_PATIENTS}" in result.stderr


def test_known_says_which_targets_count(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    targets, known = rng.integers(0, 2, (300, 3)), rng.random((300, 3)) < 0.6
    marked = _write(tmp_path / "known.npz", 300, 0, targets=targets, known=known)
    plain = _write(tmp_path / "plain.npz", 300, 0, targets=np.where(known, targets, np.nan))
    found, expected = (read_feature_file(path, "train").store.masked_targets() for path in (marked, plain))
    assert np.array_equal(found, expected, equal_nan=True)


def _stored(path: Path, features: Any, *, packed: bool = False) -> Path:
    (np.savez_compressed if packed else np.savez)(
        path, features=features, targets=np.zeros((len(features), 3)), label_names=np.array(NAMES)
    )
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        lambda x: x,
        lambda x: x.astype(np.float16),
        lambda x: x.astype(np.float64),
        lambda x: x.astype(">f4"),
        lambda x: (x * 100).astype(np.int16),
        np.asfortranarray,
        lambda x: x[:, 0],
        lambda x: x.astype(np.longdouble),
    ],
)
def test_features_are_mapped_whatever_way_they_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], Any], packed: bool
) -> None:
    monkeypatch.setattr(feature_files, "PART_BYTES", 1000)
    features = change(np.random.default_rng(0).normal(size=(50, 3, 8)).astype(np.float32))
    found = read_feature_file(_stored(tmp_path / "x.npz", features, packed=packed), "val").store.features
    assert isinstance(found, np.memmap)
    assert np.array_equal(found, features)
    assert found.dtype.kind == "f"
    assert found.dtype.isnative


def test_reading_takes_no_memory_for_the_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 24 MB of features, stored or packed, only parts are in memory: when read and when the probe is fitted."""
    monkeypatch.setattr(feature_files, "PART_BYTES", 1 << 18)
    monkeypatch.setattr(probe, "PART_BYTES", 1 << 18)
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(20_000, 300)).astype(np.float32), rng.integers(0, 2, (20_000, 1))
    for packed in (False, True):
        save: Any = np.savez_compressed if packed else np.savez
        save(tmp_path / "x.npz", features=features, targets=targets, label_names=np.array(["a"]))
        tracemalloc.start()
        store = read_feature_file(tmp_path / "x.npz", "train").store
        probe.fit_probe(store, l2=1.0)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < features.nbytes / 2


def test_the_probe_is_the_regression_of_scikit_learn_in_parts_or_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for rows, width, scale in ((400, 8, 1.0), (60, 100, 1.0), (900, 20, 1000.0)):
        targets = (rng.random(rows) < 0.2).astype(np.uint8)
        inputs = ((rng.normal(size=(rows, width)) + 0.4 * targets[:, None]) * scale).astype(np.float32)
        store = FeatureSet(inputs, targets[:, None], np.ones((rows, 1), dtype=bool), np.arange(rows).astype(object))
        model = LogisticRegression(C=1 / (1e-4 * rows), solver="newton-cholesky", tol=1e-8)
        model.fit(inputs.astype(np.float64), targets)
        for part in (1 << 25, 8 * width * 37):
            monkeypatch.setattr(probe, "PART_BYTES", part)
            found = probe.fit_probe(store, l2=1e-4)
            np.testing.assert_allclose(found.weight.detach().numpy(), model.coef_, rtol=1e-6, atol=1e-9)
            np.testing.assert_allclose(found.bias.detach().numpy(), model.intercept_, rtol=1e-6)


def test_a_changed_byte_of_stored_features_is_found(tmp_path: Path) -> None:
    path = _stored(tmp_path / "x.npz", np.ones((50, 3, 8), dtype=np.float32))
    whole = bytearray(path.read_bytes())
    whole[1000] ^= 1
    path.write_bytes(whole)
    with pytest.raises(InputError, match="cannot read the feature file"):
        read_feature_file(path, "val")

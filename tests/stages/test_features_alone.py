"""Stage 2 on embeddings from elsewhere: no images, no backbone."""

from __future__ import annotations

import json
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
from ltml.stages.feature_files import read_feature_file
from ltml.stages.features import load_features
from ltml.stages.run_directory import read_run
from ltml.types import Predictions

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
        names = ltml.describe_gaussians(tiny_run)["labels"]
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
        (_bad(ids=np.full(300, "train-1")), "ids appear more than once: train-1"),
        (_bad(groups=np.full(300, "train-1")), "in more than one split: train-1"),
        (_bad(ids=np.array([None] * 300)), "text must be stored as numpy text"),
        (_text, "is not an .npz"),
        (lambda folder: folder / "absent.npz", "absent.npz"),
    ],
)
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
    assert "val: stage 1 → stage 2" in result.stdout


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

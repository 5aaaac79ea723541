"""How alike classes are: the similarities and their clustering, and what is said where there are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.cluster.hierarchy import cophenet
from scipy.spatial.distance import squareform
from scipy.stats import t as student
from sklearn.cluster import AgglomerativeClustering
from sklearn.linear_model import LinearRegression
from sklearn.metrics.pairwise import cosine_similarity

import ltml
from ltml.errors import InputError
from ltml.report.data_figures import relations_figure
from ltml.report.writers.figure_files import write_figure
from ltml.stages import relations
from ltml.stages.features import load_features
from ltml.stages.relations import (
    cluster,
    cosine_similarities,
    describe_relations,
    mean_features,
    partial_correlation,
    similarity_gain_correlation,
)
from ltml.stages.run_directory import read_run
from ltml.training.checkpoint import load_weights

FAST = ("train.epochs=1", "data.train_size=64", "data.val_size=64", "data.test_size=32")
CLASSES, WIDTH = 5, 4


def _made(*, shared: bool) -> tuple[np.ndarray, np.ndarray]:
    """Features off zero, and labels of which a third is unknown."""
    rng = np.random.default_rng(3)
    shape = (60, WIDTH) if shared else (60, CLASSES, WIDTH)
    targets = np.where(rng.random((60, CLASSES)) < 1 / 3, np.nan, rng.random((60, CLASSES)) < 0.3)
    return (rng.normal(size=shape) + 5).astype(np.float32), targets.astype(np.float32)


def _slow_means(features: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Class by class, sample by sample; the origin of shared features is the mean of the class means."""
    means, origins = [], []
    for c in range(targets.shape[1]):
        own = features if features.ndim == 2 else features[:, c]
        positives = [own[n].astype(float) for n in range(len(own)) if targets[n, c] == 1]
        known = [own[n].astype(float) for n in range(len(own)) if not np.isnan(targets[n, c])]
        means.append(sum(positives) / len(positives))
        origins.append(sum(known) / len(known))
    if features.ndim == 2:
        origins = [sum(means) / len(means)] * len(means)
    return np.stack(means) - np.stack(origins)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("part", [1, relations.PART_BYTES])
def test_similarities_are_the_cosines_of_the_centred_class_means(
    shared: bool, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relations, "PART_BYTES", part)
    features, targets = _made(shared=shared)
    found = cosine_similarities(mean_features(features, targets))
    np.testing.assert_allclose(found, cosine_similarity(_slow_means(features, targets)), atol=1e-10)
    assert (found.diagonal() == 1).all()


def test_samples_whose_label_is_unknown_count_nowhere_in_class_aware_features() -> None:
    features, targets = _made(shared=False)
    elsewhere = np.where(np.isnan(targets)[..., None], np.float32(1e6), features)
    np.testing.assert_array_equal(mean_features(elsewhere, targets), mean_features(features, targets))


def test_every_class_counts_once_for_the_origin_however_frequent_it_is() -> None:
    """A hundred more samples of one class alone, at its mean, leave all similarities of shared features as they are."""
    features, targets = _made(shared=True)
    frequent = features[targets[:, 0] == 1].mean(axis=0, keepdims=True).repeat(100, axis=0)
    only = np.zeros((100, CLASSES), dtype=np.float32)
    only[:, 0] = 1
    more = mean_features(np.concatenate([features, frequent]), np.concatenate([targets, only]))
    np.testing.assert_allclose(more, mean_features(features, targets), atol=1e-5)


def test_samples_whose_labels_are_all_unknown_move_nothing() -> None:
    features, targets = _made(shared=True)
    more = np.concatenate([features, features[:6] + 2])
    unlabelled = np.concatenate([targets, np.full((6, CLASSES), np.nan, dtype=np.float32)])
    np.testing.assert_allclose(mean_features(more, unlabelled), mean_features(features, targets), atol=1e-12)


@pytest.mark.parametrize("shared", [True, False])
def test_a_class_that_is_a_copy_of_another_is_its_nearest(shared: bool) -> None:
    features, targets = _made(shared=shared)
    targets = np.concatenate([targets, targets[:, 2:3]], axis=1)
    features = features if shared else np.concatenate([features, features[:, 2:3]], axis=1)
    similarity = cosine_similarities(mean_features(features, targets))
    assert similarity[2, CLASSES] == pytest.approx(1)
    found = cluster(similarity, list("abcdef"))
    assert found is not None
    assert found["merges"][0][:2] == [2, CLASSES]
    assert abs(found["order"].index("c") - found["order"].index("f")) == 1


def test_merges_are_those_of_average_linkage() -> None:
    similarity = cosine_similarities(np.random.default_rng(0).normal(size=(12, 6)))
    found = cluster(similarity, [str(c) for c in range(12)])
    other = AgglomerativeClustering(
        n_clusters=None, distance_threshold=0, metric="precomputed", linkage="average", compute_distances=True
    ).fit(1 - similarity)
    assert found is not None
    np.testing.assert_allclose([merge[2] for merge in found["merges"]], other.distances_, atol=1e-12)
    assert [sorted(merge[:2]) for merge in found["merges"]] == np.sort(other.children_, axis=1).tolist()
    assert sorted(found["order"]) == sorted(found["labels"])


def test_the_order_of_the_labels_does_not_matter() -> None:
    features, targets = _made(shared=False)
    names, order = np.array(list("abcde")), [3, 0, 4, 2, 1]
    tables = []
    for places in (list(range(CLASSES)), order):
        similarity = cosine_similarities(mean_features(features[:, places], targets[:, places]))
        found = cluster(similarity, names[places].tolist())
        assert found is not None
        joined = squareform(cophenet(np.array(found["merges"], dtype=float)))
        for values in (similarity, joined):
            tables.append(pd.DataFrame(values, names[places], names[places]).loc[names, names].to_numpy())
    np.testing.assert_allclose(tables[:2], tables[2:], atol=1e-12)


@pytest.mark.parametrize("shared", [True, False])
def test_a_class_without_positives_or_without_anything_else_is_undefined(shared: bool) -> None:
    features, targets = _made(shared=shared)
    targets[:, 1] = np.where(targets[:, 1] == 1, np.nan, targets[:, 1])
    targets[:, 3] = 1
    means = mean_features(features, targets)
    assert np.isnan(means[[1, 3]]).all()
    similarity = cosine_similarities(means)
    undefined = np.isnan(similarity)
    assert undefined[[1, 3]].all()
    assert undefined[:, [1, 3]].all()
    assert not undefined[np.ix_([0, 2, 4], [0, 2, 4])].any()
    found = cluster(similarity, list("abcde"))
    assert found is not None
    assert found["labels"] == ["a", "c", "e"]
    assert len(found["merges"]) == 2


def test_fewer_than_two_classes_are_not_clustered() -> None:
    assert cluster(cosine_similarities(np.array([[1.0, 2.0], [0.0, 0.0]])), ["a", "b"]) is None


def test_correlation_is_pearsons_over_complete_pairs() -> None:
    rng = np.random.default_rng(1)
    similarity = rng.normal(size=13)
    gains = similarity + rng.normal(size=13)
    r, p = similarity_gain_correlation([*similarity, np.nan, 0.5], [*gains, 7.0, np.nan])
    expected = np.corrcoef(similarity, gains)[0, 1]
    assert r == pytest.approx(expected)
    assert p == pytest.approx(2 * student.sf(abs(expected) * (11 / (1 - expected**2)) ** 0.5, df=11))


def test_partial_correlation_is_that_of_what_a_regression_on_the_log_count_leaves() -> None:
    rng = np.random.default_rng(2)
    counts = rng.integers(5, 900, 12)
    similarity = 0.3 * np.log(counts) + rng.normal(size=12)
    gains = 0.5 * np.log(counts) + rng.normal(size=12)
    log = np.log(counts)[:, None]
    left = [values - LinearRegression().fit(log, values).predict(log) for values in (similarity, gains)]
    expected = np.corrcoef(*left)[0, 1]
    r, p = partial_correlation([*similarity, 0.2, np.nan], [*gains, 0.1, 1.0], [*counts, 0, 7])
    assert r == pytest.approx(expected)
    assert p == pytest.approx(2 * student.sf(abs(expected) * (9 / (1 - expected**2)) ** 0.5, df=9))
    pairs = [np.corrcoef(a, b)[0, 1] for a, b in ((similarity, gains), (similarity, log[:, 0]), (gains, log[:, 0]))]
    formula = (pairs[0] - pairs[1] * pairs[2]) / ((1 - pairs[1] ** 2) * (1 - pairs[2] ** 2)) ** 0.5
    assert r == pytest.approx(formula)


def test_what_the_log_count_explains_alone_leaves_nothing_to_correlate() -> None:
    counts = np.array([3, 9, 27, 81, 243])
    noise = np.random.default_rng(0).normal(size=5)
    assert similarity_gain_correlation(np.log(counts), 2 * np.log(counts))[0] == pytest.approx(1)
    assert np.isnan(partial_correlation(np.log(counts), noise, counts)).all()
    assert np.isnan(partial_correlation(noise[:3], noise[1:4], counts[:3])).all()  # too few


@pytest.mark.parametrize("gains", [[1.0, 2.0, np.nan], [3.0, 3.0, 3.0]])
def test_correlation_of_too_little_is_undefined(gains: list[float]) -> None:
    assert np.isnan(similarity_gain_correlation([0.1, 0.5, 0.3], gains)).all()


def test_correlation_needs_a_gain_per_similarity() -> None:
    with pytest.raises(InputError, match="one gain per similarity"):
        similarity_gain_correlation([0.1, 0.2, 0.3], [1.0, 2.0])


def test_a_run_with_queries_and_features(cli, tiny_run: Path, tmp_path: Path) -> None:
    picture, table = tmp_path / "relations.png", tmp_path / "relations.csv"
    result = cli("relations", tiny_run, "--json", "--picture", picture, "--csv", table)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    run, _ = read_run(tiny_run)
    weights, about = load_weights(run.checkpoint1)
    store = load_features(run.features, "train")
    expected = {
        "queries": cosine_similarity(weights["head.label_embedding"].double()),
        "features": cosine_similarity(_slow_means(store.features, store.masked_targets())),
    }
    names = about["label_names"]
    assert [entry["label"] for entry in found["labels"]] == names
    assert [entry["n_pos"] for entry in found["labels"]] == store.targets.sum(axis=0).tolist()
    written = pd.read_csv(table)
    for kind, similarity in expected.items():
        np.testing.assert_allclose(found[kind]["similarity"], similarity, atol=1e-6)
        matrix = written[written["kind"] == kind].pivot(index="label_a", columns="label_b", values="similarity")
        np.testing.assert_allclose(matrix.loc[names, names], similarity, atol=1e-6)
        assert sorted(found[kind]["clustering"]["order"]) == sorted(names)
        assert found[kind]["undefined"] == []
    assert len(written) == 2 * len(names) ** 2
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def test_the_text_names_the_most_similar_pairs(cli, tiny_run: Path) -> None:
    found = describe_relations(tiny_run)
    shown = cli("relations", tiny_run).stdout
    names = [entry["label"] for entry in found["labels"]]
    for kind in ("queries", "features"):
        similarity = np.array(found[kind]["similarity"]) - 2 * np.eye(len(names))
        a, b = np.unravel_index(similarity.argmax(), similarity.shape)
        lines = [line.split() for line in shown.splitlines() if f"{similarity[a, b]:.3f}" in line]
        assert any({names[a], names[b]} <= set(line) for line in lines)
    assert max(map(len, shown.splitlines())) <= 80


def test_queries_after_stage_2_are_those_of_its_checkpoint(tiny_run: Path) -> None:
    found = describe_relations(tiny_run, stage=2)
    weights, _ = load_weights(read_run(tiny_run)[0].checkpoint2)
    expected = cosine_similarity(weights["head.label_embedding"].double())
    np.testing.assert_allclose(found["queries"]["similarity"], expected, atol=1e-6)
    assert found["features"] is None
    assert "only stage 1" in found["absent"]["features"]


def test_a_run_of_the_label_adapter_gets_its_features_later(cli, tmp_path: Path) -> None:
    recipe = ("digits_tiny", "method=label_adapter", *FAST, "--out", tmp_path, "--json")
    run_dir = Path(json.loads(cli("run", *recipe).stdout)["run_dir"])
    found = json.loads(cli("relations", run_dir, "--json").stdout)
    weights, _ = load_weights(read_run(run_dir)[0].checkpoint1)
    expected = cosine_similarity(weights["head.classifier.queries"].double())
    np.testing.assert_allclose(found["queries"]["similarity"], expected, atol=1e-6)
    assert found["features"] is None
    assert "`ltml stage1` with the same recipe and stage2.method=NAME (any of " in found["absent"]["features"]
    picture, table = tmp_path / "queries.svg", tmp_path / "queries.csv"
    shown = cli("relations", run_dir, "--picture", picture, "--csv", table).stdout
    assert "mean features: none, no features are stored" in shown
    assert "<svg" in picture.read_text()
    assert set(pd.read_csv(table)["kind"]) == {"queries"}

    later = cli("run", *recipe, "stage2.method=bias_shift")
    assert later.exit_code == 0, later.output
    found = json.loads(cli("relations", run_dir, "--json").stdout)
    assert found["absent"] == {}
    store = load_features(read_run(run_dir)[0].features, "train")
    expected = cosine_similarity(_slow_means(store.features, store.masked_targets()))
    np.testing.assert_allclose(found["features"]["similarity"], expected, atol=1e-6)
    with pytest.raises(InputError, match="stage 2 of a run with head.type=label_adapter keeps no class queries"):
        describe_relations(json.loads(later.stdout)["run_dir"], stage=2)


def test_a_class_without_positives_is_named_and_left_out(
    cli, run_small, image_table: Callable[..., Path], tmp_path: Path
) -> None:
    result = run_small(image_table(never="0"), "--json")
    assert result.exit_code == 0, result.stderr
    run_dir = json.loads(result.stdout)["run_dir"]
    found = json.loads(cli("relations", run_dir, "--json").stdout)
    assert found["labels"][2] == {"label": "never", "n_pos": 0}
    assert found["features"]["undefined"] == [{"label": "never", "reason": "no known positives"}]
    assert found["features"]["similarity"][2] == [None, None, None]
    assert found["features"]["clustering"]["labels"] == ["bright", "odd"]
    assert len(found["queries"]["clustering"]["labels"]) == 3
    table = tmp_path / "relations.csv"
    shown = cli("relations", run_dir, "--csv", table, "--picture", tmp_path / "relations.pdf").stdout
    assert "never: undefined, no known positives" in shown
    written = pd.read_csv(table)
    missing = written[written["similarity"].isna()]
    assert len(missing) == 5
    assert ((missing["label_a"] == "never") | (missing["label_b"] == "never")).all()


def test_a_run_with_neither_says_how_to_get_features(cli, tmp_path: Path) -> None:
    run_dir = json.loads(cli("run", "digits_tiny", "method=bce", *FAST, "--out", tmp_path, "--json").stdout)["run_dir"]
    result = cli("relations", run_dir)
    assert result.exit_code == 2
    assert "head.type=linear keeps no class queries" in result.stderr
    assert "smote, tau_norm) stores them" in result.stderr


def test_a_run_on_feature_files_has_none_of_its_own(tmp_path: Path) -> None:
    features, targets = _made(shared=True)
    files = {split: tmp_path / f"{split}.npz" for split in ("train", "val")}
    for split, file in files.items():
        ids = [f"{split}{n}" for n in range(len(targets))]
        np.savez(file, features=features, targets=targets, label_names=list("abcde"), ids=ids)
    recipe = ltml.load_recipe("digits_tiny", ["stage2.method=bias_shift"])
    run = ltml.stage2(recipe, tmp_path / "runs", features=files)
    with pytest.raises(InputError, match="the run uses feature files"):
        describe_relations(run.run_dir)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--picture", "relations.xyz"], "must end in .png"),
        (["--csv", "relations.txt"], "give the name of a .csv file"),
        (["--csv", "mine.csv", "--picture", "new.png"], "mine.csv exists already"),
    ],
)
def test_files_that_cannot_be_written_are_refused_first(
    cli, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.csv").write_text("mine")
    result = cli("relations", tiny_run, *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]
    assert Path("mine.csv").read_text() == "mine"


def test_folders_that_are_no_finished_run(cli, tiny_run: Path, tmp_path: Path) -> None:
    result = cli("relations", tmp_path)
    assert result.exit_code == 2
    assert "is not a run: it has no recipe.yaml" in result.stderr
    (tmp_path / "recipe.yaml").write_bytes((tiny_run / "recipe.yaml").read_bytes())
    result = cli("relations", tmp_path)
    assert result.exit_code == 2
    assert "has no finished stage 1: run `ltml stage1`" in result.stderr
    with pytest.raises(InputError, match="the stages 1 and 2"):
        describe_relations(tiny_run, stage=3)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_character_can_be_in_a_label_of_a_picture(tmp_path: Path, count: int) -> None:
    names = ["a$x^^2$", "_b_{", "<i>&--", "肺炎", "two\nlines"][:count]
    similarity = cosine_similarities(np.random.default_rng(0).normal(size=(count, 3)))
    similarity[0] = similarity[:, 0] = np.nan
    relation = {
        "similarity": [[None if np.isnan(value) else value for value in row] for row in similarity],
        "clustering": cluster(similarity, names),
    }
    labels = [{"label": name, "n_pos": 1} for name in names]
    found = {"stage": 1, "labels": labels, "queries": relation, "features": None}
    for ending in ("png", "svg", "pdf"):
        write_figure(relations_figure(found), tmp_path / f"a.{ending}")
        assert (tmp_path / f"a.{ending}").stat().st_size > 1000

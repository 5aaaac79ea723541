"""GaussianResampler follows the conventions of scikit-learn and imbalanced-learn."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from ltml.gaussians import GaussianResampler

EXPECTED_FAILURES = {
    "check_fit_score_takes_y": "the second argument is called targets, since it may be a matrix",
    "check_n_features_in_after_fitting": "partial_fit takes multi-label targets only",
    "check_dtype_object": "an object that is not a number counts as missing: a ValueError, not a TypeError",
    "check_estimators_empty_data_messages": "the message gives both shapes in other words",
    "check_requires_y_none": "the message names features and targets instead of X and y",
}


def _frame() -> tuple[pd.DataFrame, pd.Series]:
    rng = np.random.default_rng(0)
    index = [f"eye{i}" for i in range(30)]
    features = pd.DataFrame(rng.normal(size=(30, 2)), columns=["width", "depth"], index=index)
    features["age"] = rng.integers(20, 80, size=30)
    return features, pd.Series(["well"] * 24 + ["ill"] * 6, name="state", index=index)


@pytest.mark.filterwarnings("ignore:.*does not inherit from.*BaseEstimator:UserWarning")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_scikit_learn_finds_only_the_failures_that_are_listed() -> None:
    pytest.importorskip("sklearn", minversion="1.6", reason="check_estimator lists expected failures since 1.6")
    from sklearn.utils.estimator_checks import check_estimator

    results = check_estimator(GaussianResampler(), expected_failed_checks=EXPECTED_FAILURES, on_skip=None, on_fail=None)
    assert len(results) > 30
    status = {result["check_name"]: result["status"] for result in results}
    assert {name for name, value in status.items() if value == "failed"} == set()
    assert {name for name, value in status.items() if value == "skipped"} <= {"check_array_api_input"}
    assert {name for name in EXPECTED_FAILURES if status.get(name, "xfail") != "xfail"} == set()


def test_the_tags_are_those_of_a_resampler() -> None:
    pytest.importorskip("sklearn", minversion="1.6", reason="scikit-learn has tags in this form since 1.6")
    from sklearn.utils import get_tags

    tags = get_tags(GaussianResampler())
    assert tags.estimator_type == "sampler"
    assert tags.target_tags.required
    assert tags.input_tags.three_d_array
    assert not tags.input_tags.sparse


def test_neither_scikit_learn_nor_pandas_is_imported_to_resample_arrays() -> None:
    code = (
        "import sys, numpy as np; from ltml.gaussians import GaussianResampler\n"
        "GaussianResampler().fit_resample(np.eye(6), np.array([0, 0, 0, 0, 1, 1]))\n"
        "assert not {'sklearn', 'pandas'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_int_is_a_seed_for_every_call_and_a_generator_goes_on() -> None:
    features, labels = _frame()
    seeded = GaussianResampler(random_state=3).fit(features, labels)
    plain = GaussianResampler().fit(features, labels)
    np.testing.assert_array_equal(seeded.sample(5)[0], plain.sample(5, seed=3)[0])
    np.testing.assert_array_equal(seeded.sample(5)[0], seeded.sample(5)[0])
    np.testing.assert_array_equal(seeded.sample(5, seed=4)[0], plain.sample(5, seed=4)[0])
    for make in (np.random.RandomState, np.random.default_rng):
        first, second = (clone(seeded).set_params(random_state=make(7)).fit(features, labels) for _ in range(2))
        draws = [resampler.sample(5)[0] for resampler in (first, first, second, second)]
        np.testing.assert_array_equal(draws[0], draws[2])
        np.testing.assert_array_equal(draws[1], draws[3])
        assert not np.array_equal(draws[0], draws[1])


@pytest.mark.parametrize("state", ["3", 1.5, True])
def test_another_random_state_is_refused(state: Any) -> None:
    resampler = GaussianResampler(random_state=state).fit(*_frame())
    with pytest.raises(ValueError, match="Expected random_state as an int, a numpy RandomState"):
        resampler.sample(3)


def test_a_clone_has_the_parameters_and_not_the_fit() -> None:
    resampler = GaussianResampler(covariance="oas", random_state=5).fit(*_frame())
    copied = clone(resampler)
    assert copied.get_params() == resampler.get_params()
    assert not hasattr(copied, "n_features_in_")


def test_frames_keep_columns_names_and_types_as_in_imbalanced_learn() -> None:
    features, labels = _frame()
    resampler = GaussianResampler(random_state=0)
    frame, states = resampler.fit_resample(features, labels)
    assert list(frame.columns) == ["width", "depth", "age"]
    assert frame.index.equals(pd.RangeIndex(48))
    assert states.index.equals(pd.RangeIndex(48))
    assert (states.name, states.dtype) == ("state", labels.dtype)
    assert states.value_counts().to_dict() == {"well": 24, "ill": 24}
    pd.testing.assert_frame_equal(frame[:30], features.reset_index(drop=True), check_dtype=False)
    arrays = GaussianResampler(random_state=0).fit_resample(features.to_numpy(), labels.to_numpy())
    np.testing.assert_array_equal(frame.to_numpy(), arrays[0])
    np.testing.assert_array_equal(states.to_numpy(), arrays[1])


def test_categories_and_arrays_beside_frames_keep_their_kind() -> None:
    features, labels = _frame()
    _, states = GaussianResampler().fit_resample(features, labels.astype("category"))
    assert states.dtype == labels.astype("category").dtype
    frame, states = GaussianResampler().fit_resample(features, labels.to_numpy())
    assert isinstance(frame, pd.DataFrame)
    assert isinstance(states, np.ndarray)


def test_multi_label_targets_stay_a_frame() -> None:
    features, _ = _frame()
    rng = np.random.default_rng(1)
    targets = pd.DataFrame(rng.integers(0, 2, (30, 2)), columns=["cataract", "glaucoma"], index=features.index)
    virtual, drawn = GaussianResampler(random_state=0).fit_resample(features, targets)
    assert virtual.shape == (30, 2, 3)
    assert list(drawn.columns) == ["cataract", "glaucoma"]
    assert len(drawn) == 30


def test_names_of_features_are_those_of_the_last_fit() -> None:
    features, labels = _frame()
    resampler = GaussianResampler().fit(features, labels)
    assert resampler.feature_names_in_.tolist() == ["width", "depth", "age"]
    assert resampler.n_features_in_ == 3
    resampler.fit(features.to_numpy(), labels.to_numpy())
    assert not hasattr(resampler, "feature_names_in_")
    resampler.fit(features.set_axis([0, 1, 2], axis=1), labels)
    assert not hasattr(resampler, "feature_names_in_")


def test_a_seed_is_saved_and_a_generator_is_not(tmp_path) -> None:
    features, labels = _frame()
    for state, kept in ((4, 4), (np.random.default_rng(0), None), (None, None)):
        GaussianResampler(random_state=state).fit(features, labels).save(tmp_path / "g.safetensors")
        assert GaussianResampler.load(tmp_path / "g.safetensors").random_state == kept


def test_sparse_features_are_refused_by_name() -> None:
    from scipy.sparse import csr_matrix

    with pytest.raises(ValueError, match="sparse one: give its .toarray"):
        GaussianResampler().fit(csr_matrix(np.eye(4)), np.array([0, 0, 1, 1]))

"""Column names that are almost the expected one."""

from __future__ import annotations

import pytest

from ltml.near_names import fold_id, fold_name, is_missing, near_misses


@pytest.mark.parametrize(
    "name",
    ["Group", "groups", " group ", "GROUP", "group_id", "goup", "gruop", "groupe", "g\u200broup", "patient"],
)
def test_slips_of_group_are_found(name: str) -> None:
    assert near_misses([name, "age"], "group") == [name]


@pytest.mark.parametrize(
    "name", ["Patient ID", "patient_id", "PatientID", "patients", "subject", "subject_id", "StudyInstanceUID", "MRN"]
)
def test_other_words_for_group_are_found(name: str) -> None:
    assert near_misses([name, "age"], "group") == [name]


@pytest.mark.parametrize("name", ["group", "growth", "age", "grade", "Mass", "patient_age", "soup"])
def test_other_names_are_not_near_group(name: str) -> None:
    assert near_misses([name], "group") == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [("ID", "id"), ("ids", "id"), ("Split", "split"), ("splits", "split"), ("spilt", "split"), ("fold", "split")],
)
def test_near_names_of_id_and_split_are_found(name: str, expected: str) -> None:
    assert near_misses([name], expected) == [name]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Known", "known"), ("mask", "known"), ("Source", "source"), ("image_path", "image"), ("Filename", "image")],
)
def test_other_columns_have_near_names_too(name: str, expected: str) -> None:
    assert near_misses([name], expected) == [name]


@pytest.mark.parametrize(("name", "expected"), [("age", "id"), ("it", "id"), ("site", "split"), ("snow", "known")])
def test_short_or_different_words_are_not_near(name: str, expected: str) -> None:
    assert near_misses([name], expected) == []


def test_a_folded_name_has_no_case_no_blanks_and_no_invisible_letters() -> None:
    assert fold_name(" Prob:\u200b Mass ") == fold_name("prob:mass")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("7", "7.0"),
        ("007", "7"),
        ("P1", "p1 "),
        ("0", "00.0"),
        ("a b", "ab"),
        ("ａ", "A"),
        ("12.", "12"),
        ("x\u200b", "x"),
    ],
)
def test_ids_of_one_thing_fold_alike(first: str, second: str) -> None:
    assert fold_id(first) == fold_id(second)


@pytest.mark.parametrize(
    ("first", "second"), [("7", "70"), ("7.01", "7.1"), ("1.0.0", "1.0"), ("p01", "p1"), ("", "0")]
)
def test_ids_of_two_things_fold_apart(first: str, second: str) -> None:
    assert fold_id(first) != fold_id(second)


def test_what_programs_write_for_nothing_is_missing() -> None:
    assert all(is_missing(text) for text in ("", " ", "nan", "NaN", "None", "<NA>", "null", "N/A", "NaT"))
    assert not any(is_missing(text) for text in ("0", "Nana", "n", "-1"))

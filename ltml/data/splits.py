"""Train, val and test by group, so that no patient is in two of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ltml.errors import InputError, first_few
from ltml.types import IntArray

SPLITS = ("train", "val", "test")


def split_by_group(groups: Sequence[str], ratio: tuple[int, int, int], seed: int) -> dict[str, IntArray]:
    """Divide rows by whole groups so that each split comes as near to its share of rows as groups allow.

    Groups are taken in an order drawn from the seed; it does not depend on the order of the rows.

    Args:
        groups: group of each row, ``(N,)``.
        ratio: train : val : test.
        seed: split seed.

    Returns:
        Sorted row numbers by split.

    Raises:
        InputError: fewer groups than splits.
    """
    codes, names = pd.factorize(np.asarray(groups, dtype=object), sort=True)
    if len(names) < len(SPLITS):
        raise InputError(
            f"cannot split {len(codes)} images of {len(names)} group(s) into train, val and test without a group in "
            "two of them; give a 'split' column, or more groups"
        )
    order = np.random.default_rng(seed).permutation(len(names))
    images_before = np.cumsum(np.bincount(codes)[order])
    shares = np.cumsum(ratio)[:-1] / sum(ratio)
    ends = [int(np.argmin(np.abs(images_before - share * len(codes)))) + 1 for share in shares]
    ends[0] = min(ends[0], len(names) - 2)  # each split keeps at least one group
    ends[1] = min(max(ends[1], ends[0] + 1), len(names) - 1)
    members = np.split(order, ends)
    return {name: np.flatnonzero(np.isin(codes, part)) for name, part in zip(SPLITS, members, strict=True)}


def take_validation(
    splits: Mapping[str, IntArray], groups: Sequence[str], ratio: tuple[int, int, int], seed: int
) -> dict[str, IntArray]:
    """Take ``val`` out of ``train`` by whole groups where the data have no validation of their own.

    Args:
        splits: row numbers by split.
        groups: group of each row, ``(N,)``.
        ratio: train : val : test, of which the first two count.
        seed: split seed.

    Raises:
        InputError: ``train`` has fewer than two groups.
    """
    if "val" in splits:
        return dict(splits)
    rows = splits["train"]
    codes, names = pd.factorize(np.asarray(groups, dtype=object)[rows], sort=True)
    if len(names) < 2:
        raise InputError(f"cannot take a validation set out of {len(names)} training group(s) (patients)")
    order = np.random.default_rng(seed).permutation(len(names))
    images_before = np.cumsum(np.bincount(codes)[order])
    end = int(np.argmin(np.abs(images_before - ratio[1] / (ratio[0] + ratio[1]) * len(rows)))) + 1
    in_val = np.isin(codes, order[: min(end, len(names) - 1)])
    rest = {name: numbers for name, numbers in splits.items() if name != "train"}
    return {"train": rows[~in_val], "val": rows[in_val], **rest}


def split_by_column(column: pd.Series, where: str) -> dict[str, IntArray]:
    """Row numbers by the split that the data give.

    Raises:
        InputError: a value other than train, val or test.
    """
    wrong = column[~column.isin(SPLITS)]
    if len(wrong):
        raise InputError(
            f"{where}, line {wrong.index[0]}: split is '{wrong.iloc[0]}'; allowed: train, val, test "
            "(or leave the column out for a split by group)"
        )
    return {name: np.flatnonzero(column == name) for name in SPLITS}


def check_groups_apart(groups: pd.Series, splits: Mapping[str, IntArray], where: str) -> None:
    """Refuse a group that is in two splits.

    Raises:
        InputError: names the groups and their splits.
    """
    table = pd.concat(
        pd.DataFrame({"group": groups.iloc[rows].to_numpy(), "split": split}) for split, rows in splits.items()
    )
    places = table.drop_duplicates().groupby("group", sort=True)["split"].agg(" and ".join)
    shared = [f"'{group}' in {where_} " for group, where_ in places.items() if " and " in where_]
    if shared:
        raise InputError(
            f"{where}: {len(shared)} group(s) are in more than one split: {first_few(s.strip() for s in shared)}. "
            "All images of a group (patient) must be in one split."
        )

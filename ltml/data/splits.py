"""Train, val and test by group, so that no patient is in two of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ltml.csv_table import read_csv_table
from ltml.data.faults import Fault, Faults
from ltml.errors import InputError, first_few
from ltml.types import IntArray

SPLITS = ("train", "val", "test")

Codes = npt.NDArray[np.int8]


def split_by_group(
    groups: Sequence[str], ratio: tuple[int, int, int], seed: int, codes: Codes | None = None
) -> dict[str, IntArray]:
    """Divide rows by whole groups into train, val and test; see `divide`.

    Raises:
        InputError: fewer groups than splits.
    """
    if len(set(groups)) < len(SPLITS):
        raise InputError(
            f"cannot split {len(groups)} images of {len(set(groups))} group(s) into train, val and test without a "
            "group in two of them; give a 'split' column, or more groups"
        )
    return dict(zip(SPLITS, divide(groups, ratio, seed, codes), strict=True))


def take_validation(
    splits: Mapping[str, IntArray],
    groups: Sequence[str],
    ratio: tuple[int, int, int],
    seed: int,
    codes: Codes | None = None,
) -> dict[str, IntArray]:
    """Take ``val`` out of ``train`` by whole groups where the data have no validation of their own.

    Args:
        splits: row numbers by split.
        groups: group of each row, ``(N,)``.
        ratio: train : val : test, of which the first two count.
        seed: split seed.
        codes: as in `divide`.

    Raises:
        InputError: ``train`` has fewer than two groups.
    """
    if "val" in splits:
        return dict(splits)
    rows = splits["train"]
    inside = np.asarray(groups, dtype=object)[rows].tolist()
    if len(set(inside)) < 2:
        raise InputError(f"cannot take a validation set out of {len(set(inside))} training group(s) (patients)")
    train, val = divide(inside, ratio[:2], seed, None if codes is None else codes[rows])
    rest = {name: numbers for name, numbers in splits.items() if name != "train"}
    return {"train": rows[train], "val": rows[val], **rest}


def divide(
    groups: Sequence[str], shares: Sequence[float], seed: int, codes: Codes | None = None
) -> list[npt.NDArray[np.int64]]:
    """Divide rows by whole groups so that each part comes as near to its share of rows as groups allow.

    Groups are taken in an order drawn from the seed; it does not depend on the order of the rows.

    Args:
        groups: group of each row, ``(N,)``; no fewer groups than parts.
        shares: of the rows, one number per part, in any unit.
        seed: split seed.
        codes: ``(N, C)`` labels (1 is positive); if given, the positives of every label are spread as well, rare ones
            first (Sechidis et al. 2011, iterative stratification, with a group in place of a sample).

    Returns:
        Sorted row numbers of each part.
    """
    numbers, names = pd.factorize(np.asarray(groups, dtype=object), sort=True)
    order = np.random.default_rng(seed).permutation(len(names))
    if codes is None:
        parts = _cut(np.bincount(numbers)[order], shares)
    else:
        sizes = np.zeros((len(names), codes.shape[1] + 1))
        np.add.at(sizes, numbers, np.column_stack([codes == 1, np.ones(len(codes))]))
        parts = _stratify(sizes[order], shares)
    part_of = np.empty(len(names), dtype=np.int64)
    part_of[order] = parts
    return [np.flatnonzero(part_of[numbers] == part) for part in range(len(shares))]


def _cut(sizes: IntArray, shares: Sequence[float]) -> IntArray:
    """Part of each group when the ordered groups are cut where the shares of rows end, no part empty."""
    before = np.cumsum(sizes)
    targets = np.cumsum(shares)[:-1] / sum(shares) * before[-1]
    ends, count = [0], len(sizes)
    for number, target in enumerate(targets):
        end = int(np.argmin(np.abs(before - target))) + 1
        ends.append(min(max(end, ends[-1] + 1), count - (len(shares) - 1 - number)))
    return np.repeat(np.arange(len(shares)), np.diff([*ends, count]))


def _stratify(sizes: npt.NDArray[np.float64], shares: Sequence[float]) -> IntArray:
    """Part of each group, ``sizes (G, C + 1)`` its positives per label and, last, its rows.

    The rarest label that is left goes first: each of its groups to the part that lacks most of that label, then most
    rows; groups without positives fill up the rows. At last a part that got nothing takes a group from the fullest.
    """
    fractions = np.asarray(shares, dtype=np.float64) / sum(shares)
    lacking = fractions[:, None] * sizes.sum(axis=0)
    part_of = np.full(len(sizes), -1)
    while (part_of < 0).any():
        left = np.flatnonzero(part_of < 0)
        remaining = sizes[left].sum(axis=0)[:-1]
        if remaining.any():
            label = int(np.argmin(np.where(remaining > 0, remaining, np.inf)))
            members = left[sizes[left, label] > 0]
        else:
            label, members = -1, left
        for member in members[np.argsort(-sizes[members, label], kind="stable")]:
            part = max(range(len(shares)), key=lambda p: (lacking[p, label] / fractions[p], lacking[p, -1]))
            part_of[member] = part
            lacking[part] -= sizes[member]
    for part in range(len(shares)):
        if not (part_of == part).any():
            fullest = int(np.bincount(part_of).argmax())
            part_of[np.flatnonzero(part_of == fullest)[-1]] = part
    return part_of


def split_by_column(column: pd.Series, where: str) -> dict[str, IntArray]:
    """Row numbers by the split that the data give; without ``val`` where no row names it.

    Raises:
        InputError: a value other than train, val or test.
    """
    wrong = column[~column.isin(SPLITS)]
    if len(wrong):
        raise InputError(
            f"{where}, line {wrong.index[0]}: split is '{wrong.iloc[0]}'; allowed: train, val, test "
            "(or leave the column out for a split by group)"
        )
    named = {name: np.flatnonzero(column == name) for name in SPLITS}
    return {name: rows for name, rows in named.items() if len(rows) or name != "val"}


def split_by_file(file: Path, ids: pd.Series, prefix: str = "") -> dict[str, IntArray]:
    """Row numbers by the split of a CSV with ``id`` and ``split``, such as a run's ``split.csv``.

    Further splits (``test_natural`` and the like) are kept. Ids that the file does not list are in no split. With a
    prefix only its ids that begin with it count, without the prefix: those of one source of a union.

    Raises:
        InputError: a column is missing, an id is unknown or listed twice, or train, val or test has no rows.
    """
    table = read_csv_table(file, "data.split.file")
    if missing := [name for name in ("id", "split") if name not in table]:
        raise InputError(f"{file} has no column {first_few(missing)}; it needs id and split, as a run's split.csv has")
    table = table[table["id"].str.startswith(prefix)].assign(id=table["id"].str.removeprefix(prefix))
    doubled = table["id"][table["id"].duplicated()]
    if len(doubled):
        raise InputError(f"{file}, line {doubled.index[0]}: the id '{doubled.iloc[0]}' is listed more than once")
    places = pd.Series(np.arange(len(ids)), index=ids.astype(str))
    strange = table["id"][~table["id"].isin(places.index)]
    if len(strange):
        raise InputError(
            f"{file}, line {strange.index[0]}: the id '{strange.iloc[0]}' is not in the data "
            f"({len(strange)} such id(s)); give the split of this dataset"
        )
    order = [*SPLITS, *sorted(set(table["split"]) - set(SPLITS))]
    splits = {name: np.sort(places[table["id"][table["split"] == name]].to_numpy()) for name in order}
    if not prefix and (empty := [name for name in SPLITS if not len(splits[name])]):
        raise InputError(f"{file} has no rows for {first_few(empty)}; the column split must name train, val and test")
    return splits


def check_groups_apart(groups: pd.Series, splits: Mapping[str, npt.NDArray[Any]], where: str, faults: Faults) -> None:
    """Report groups that are in two splits.

    Raises:
        InputError: names the groups and their splits.
    """
    names = list(splits)
    codes, labels = pd.factorize(groups, sort=True)
    inside = np.zeros((len(labels), len(names)), dtype=bool)
    for number, rows in enumerate(splits.values()):
        inside[codes[rows], number] = True
    shared: list[int] = np.flatnonzero(inside.sum(axis=1) > 1).tolist()
    places = [" and ".join(name for name, there in zip(names, inside[group], strict=True) if there) for group in shared]
    faults.report(
        [
            Fault("group in two splits", f"{where}, group '{labels[group]}'", f"it is in {place}")
            for group, place in zip(shared, places, strict=True)
        ],
        advice="All images of a group (patient) must be in one split.",
    )

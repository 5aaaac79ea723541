"""Split rows into train, val and test by group, so that no patient is in two of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ltml.arrays import BoolArray, Codes, IntArray
from ltml.csv_table import read_csv_table
from ltml.data.faults import Fault, Faults
from ltml.errors import InputError, first_few, shown
from ltml.near_names import fold_id

SPLITS = ("train", "val", "test")

OTHER_SPLIT_NAMES = (
    {fold_id(name): name for name in SPLITS}
    | dict.fromkeys(("training", "trn", "tr"), "train")
    | dict.fromkeys(("valid", "validation", "validate", "dev", "development", "eval"), "val")
    | dict.fromkeys(("testing", "tst", "te", "holdout"), "test")
)
"""Split by other usual names."""


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
    """Take ``val`` out of ``train`` by whole groups if the data have no validation set.

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
    groups: Sequence[str], shares: Sequence[int], seed: int, codes: Codes | None = None
) -> list[npt.NDArray[np.int64]]:
    """Divide rows by whole groups so that each part approximates its share of rows.

    Groups are taken in an order drawn from the seed; it does not depend on the order of the rows.

    Args:
        groups: group of each row, ``(N,)``; no fewer groups than parts.
        shares: relative size of each part, whole numbers above 0.
        seed: split seed.
        codes: ``(N, C)`` labels (1 is positive); if given, the positives of every label are spread as well, rare ones
            first (Sechidis et al. 2011, iterative stratification, with a group in place of a sample). The first part
            is train: of two parts that lack as much it is served first, a group with most positives of a label goes
            there, and as long as groups allow no label is without a positive in it.

    Returns:
        Sorted row numbers of each part.
    """
    numbers, names = pd.factorize(np.asarray(groups, dtype=object), sort=True)
    order = np.random.default_rng(seed).permutation(len(names))
    if codes is None:
        parts = _cut(np.bincount(numbers)[order], shares)
    else:
        sizes = np.zeros((len(names), codes.shape[1] + 1), dtype=np.int64)
        np.add.at(sizes, numbers, np.column_stack([codes == 1, np.ones(len(codes), dtype=np.int64)]))
        parts = _stratify(sizes[order], shares)
    part_of = np.empty(len(names), dtype=np.int64)
    part_of[order] = parts
    return [np.flatnonzero(part_of[numbers] == part) for part in range(len(shares))]


def _cut(sizes: IntArray, shares: Sequence[int]) -> IntArray:
    """Return the part of each group when the ordered groups are cut where the shares of rows end, no part empty.

    A group that is larger than every part after the first comes first; otherwise one patient could be nearly all of a
    test set.
    """
    total, whole = int(sizes.sum()), sum(shares)
    huge = sizes * whole > max(shares[1:]) * total
    order = np.concatenate([np.flatnonzero(huge)[np.argsort(-sizes[huge], kind="stable")], np.flatnonzero(~huge)])
    before = np.cumsum(sizes[order]) * whole
    ends, count = [0], len(sizes)
    for number, share in enumerate(np.cumsum(shares)[:-1]):
        end = int(np.argmin(np.abs(before - share * total))) + 1
        ends.append(min(max(end, ends[-1] + 1), count - (len(shares) - 1 - number)))
    part_of = np.empty(count, dtype=np.int64)
    part_of[order] = np.repeat(np.arange(len(shares)), np.diff([*ends, count]))
    return part_of


def _stratify(sizes: IntArray, shares: Sequence[int]) -> IntArray:
    """Return the part of each group, ``sizes (G, C + 1)`` its positives per label and, last, its rows.

    The rarest label that is left goes first, and of its groups the one that suits fewest parts, then the one with most
    positives; groups without positives fill up the rows. At last a part that got nothing takes a small group from the
    fullest.
    """
    sharing = _Sharing(sizes.sum(axis=0), shares)
    choices = sharing.suited(sizes).sum(axis=1)
    part_of = np.full(len(sizes), -1)
    while (part_of < 0).any():
        left = np.flatnonzero(part_of < 0)
        remaining = sizes[left].sum(axis=0)[:-1]
        if remaining.any():
            label = int(np.argmin(np.where(remaining > 0, remaining, np.iinfo(np.int64).max)))
            members = left[sizes[left, label] > 0]
        else:
            label, members = -1, left
        for member in members[np.lexsort((-sizes[members, label], choices[members]))]:
            part_of[member] = sharing.place(sizes[member], label)
    _fill_empty_parts(part_of, sizes, len(shares))
    return part_of


class _Sharing:
    """Positives of every label and rows in each part, in whole numbers, so that ties are exact.

    Args:
        totals: positives per label and, last, rows, ``(C + 1,)``.
        shares: relative sizes of the parts; the first is train.
    """

    def __init__(self, totals: IntArray, shares: Sequence[int]) -> None:
        self._totals = totals
        self._due = np.outer(shares, totals)
        self._whole = sum(shares)
        self._full = -(-self._due // self._whole)
        self._most = np.maximum(self._full, 3 * self._due // (2 * self._whole))
        self._scale = [math.lcm(*shares) // share for share in shares]
        self._taken = np.zeros_like(self._due)
        self._left = totals.copy()

    def suited(self, sizes: IntArray) -> BoolArray:
        """Return the parts that groups, ``sizes (G, C + 1)``, suit, ``(G, P)``.

        A group suits a part if it alone has at most one and a half of the part's share of everything.
        """
        return np.stack([(sizes <= most).all(axis=1) for most in self._most], axis=1)

    def place(self, size: IntArray, label: int) -> int:
        """Return the part of a group, ``size (C + 1)``, that is placed for one of its labels (-1: for its rows)."""
        part = 0 if self._is_needed_in_train(size) else self._choose(size, label)
        self._taken[part] += size
        self._left -= size
        return part

    def _is_needed_in_train(self, size: IntArray) -> bool:
        """Return whether the group has most positives of a label, or the last that train can get."""
        last = (size > 0) & (self._taken[0] == 0) & (self._left == size)
        return bool((last | (2 * size > self._totals))[:-1].any())

    def _choose(self, size: IntArray, label: int) -> int:
        """Return the part that lacks most of its share of the label, a tie to train, among those that it does not fill.

        A group fits a part that it suits for all but the label if the part then has no more of the label than its
        share, rounded up. Where it fits nowhere, it goes where most of the label is lacking in absolute numbers.
        """
        others = size.copy()
        others[label] = 0
        suited = self.suited(others[None])[0]
        fits = suited & (self._taken[:, label] + size[label] <= self._full[:, label])
        if fits.any():
            return min(np.flatnonzero(fits).tolist(), key=lambda part: self._how_full(part, label))
        suited[0] = True
        lacking = self._due[:, label] - self._whole * self._taken[:, label]
        return int(np.argmax(np.where(suited, lacking, np.iinfo(np.int64).min)))

    def _how_full(self, part: int, label: int) -> tuple[int, bool, int]:
        of_label, rows = (int(self._taken[part, column]) * self._scale[part] for column in (label, -1))
        return of_label, part > 0, rows


def _fill_empty_parts(part_of: IntArray, sizes: IntArray, parts: int) -> None:
    """Give each part without a group the one of the fullest part that costs it fewest labels, then fewest rows."""
    for part in range(parts):
        if (part_of == part).any():
            continue
        members = np.flatnonzero(part_of == np.bincount(part_of).argmax())
        held = sizes[members, :-1]
        only_one = (held > 0) & (held == held.sum(axis=0))
        elsewhere = held.sum(axis=0) < sizes[:, :-1].sum(axis=0)
        costs = np.lexsort((sizes[members, -1], only_one.sum(axis=1), (only_one & elsewhere).sum(axis=1)))
        part_of[members[costs[0]]] = part


def split_by_column(column: pd.Series, where: str) -> dict[str, IntArray]:
    """Return row numbers by the split of the data; without ``val`` if no row names it.

    Raises:
        InputError: a value other than train, val or test.
    """
    wrong = column[~column.isin(SPLITS)]
    if len(wrong):
        kinds = "/".join(map(shown, wrong.value_counts().index[:3]))
        count = f" ({len(wrong):,} × {kinds})" if len(wrong) > 1 else ""
        raise InputError(
            f"{where}, line {wrong.index[0]}: split is {shown(wrong.iloc[0])}; allowed: train, val, test "
            f"(or leave the column out for a split by group){count}"
        )
    named = {name: np.flatnonzero(column == name) for name in SPLITS}
    return {name: rows for name, rows in named.items() if len(rows) or name != "val"}


def split_by_file(file: Path, ids: pd.Series, prefix: str = "") -> dict[str, IntArray]:
    """Return row numbers by the split of a CSV with ``id`` and ``split``, such as a run's ``split.csv``.

    Further splits (``test_natural`` and the like) are kept. Ids that the file does not list are in no split. With a
    prefix only its ids that begin with it count, without the prefix: those of one source of a union.

    Raises:
        InputError: a column is missing, an id is unknown, listed twice or spelt otherwise in the data, a split is
            called otherwise, or train, val or test has no rows.
    """
    table = read_csv_table(file, "data.split.file", ("id", "split"))
    _check_split_names(table["split"], file)
    table = table[table["id"].str.startswith(prefix)].assign(id=table["id"].str.removeprefix(prefix))
    doubled = table["id"][table["id"].duplicated()]
    if len(doubled):
        raise InputError(f"{file}, line {doubled.index[0]}: the id {shown(doubled.iloc[0])} is listed more than once")
    places = pd.Series(np.arange(len(ids)), index=ids.astype(str))
    strange = table["id"][~table["id"].isin(places.index)]
    if len(strange):
        raise InputError(f"{file}, line {strange.index[0]}: {_strange_ids(strange, ids)}")
    order = [*SPLITS, *sorted(set(table["split"]) - set(SPLITS))]
    splits = {name: np.sort(places[table["id"][table["split"] == name]].to_numpy()) for name in order}
    if not prefix and (empty := [name for name in SPLITS if not len(splits[name])]):
        raise InputError(f"{file} has no rows for {first_few(empty)}; the column split must name train, val and test")
    return splits


def _check_split_names(column: pd.Series, file: Path) -> None:
    """Refuse an empty split and other spellings of train, val and test, which would be splits that nobody uses."""
    for line, name in column[~column.isin(SPLITS) & ~column.duplicated()].items():
        meant = OTHER_SPLIT_NAMES.get(fold_id(str(name)))
        if not name:
            raise InputError(f"{file}, line {line}: the split is empty; name one, or take the row out")
        if meant:
            raise InputError(f"{file}, line {line}: the split {shown(name)} must be called '{meant}'")


def _strange_ids(strange: pd.Series, ids: pd.Series) -> str:
    """Say how many ids are not in the data, and which the data spell differently."""
    spelled = {fold_id(name): name for name in ids.astype(str)}
    near = [(name, spelled[fold_id(name)]) for name in strange if fold_id(name) in spelled]
    count = f"({len(strange):,} such id(s))"
    if not near:
        return f"the id {shown(strange.iloc[0])} is not in the data {count}; give the split of this dataset"
    given, spelling = near[0]
    return (
        f"the id {shown(strange.iloc[0])} is not in the data {count}, which spell {len(near):,} of them differently: "
        f"{shown(given)} is {shown(spelling)} in them. Write ids alike in both (case, blanks, zeros in front, '.0')."
    )


def check_groups_alike(groups: pd.Series, where: str, faults: Faults) -> None:
    """Report groups whose names differ only by case, blanks, zeros in front or ``.0``: one patient spelt two ways.

    Args:
        groups: group of each row; the index is the line of each.
        where: name of the file in messages.
        faults: collector of faults.

    Raises:
        InputError: names both spellings.
    """
    first = groups[~groups.duplicated()].astype(object)
    met: dict[str, str] = {}
    alike = [
        (line, name, met[folded])
        for line, name, folded in zip(first.index, first, map(fold_id, map(str, first)), strict=True)
        if met.setdefault(folded, name) != name
    ]
    faults.report(
        [
            Fault(
                "patient spelt two ways", f"{where}, line {line}, group {shown(name)}", f"{shown(other)} is there too"
            )
            for line, name, other in alike
        ],
        "Groups (patients) that differ only by case, blanks, zeros in front or '.0' would be in two splits. Write a "
        "patient alike everywhere; if they are two, give them names that differ by more.",
    )


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
    places = [
        " and ".join(name for name, is_inside in zip(names, inside[group], strict=True) if is_inside)
        for group in shared
    ]
    faults.report(
        [
            Fault("group in two splits", f"{where}, group '{labels[group]}'", f"it is in {place}")
            for group, place in zip(shared, places, strict=True)
        ],
        advice="All images of a group (patient) must be in one split.",
    )

"""Counts, means and scatter of every (class, label) group in one pass over the rows.

A group keeps its rows themselves while it has no more of them than dimensions: what follows from them is exact and
no ``D × D`` matrix is formed. Once it has more, they become sums about a shift near their mean. The shift keeps the
digits: products are formed in the rows' precision (float32 at least) and added in float64, and without it features
far from zero would lose what their covariance consists of before any accumulator sees it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[Any]

PART_BYTES = 8 << 20
"""Rows are worked off in chunks of which one class's part has at most so many bytes."""
WAITING_BYTES = 128 << 20
"""Rows that wait for a full chunk take no more than this, or than half of what the sums take."""
RUN = 32
"""Rows that are summed in their own precision before the sum is widened."""
PENDING_BYTES = 24 << 20
"""What groups hold back, together, so that a few rows do not cost a whole product."""


@dataclass
class Sums:
    """Sums over rows ``x`` about a shift, with ``y = x − shift``; all float64.

    Attributes:
        count: rows.
        shift: ``(D,)``.
        total: ``Σ y``, ``(D,)``.
        scatter: ``Σ y yᵀ``, ``(D, D)``, or its diagonal ``(D,)``.
        third: ``Σ ‖y‖² y``, ``(D,)``; with `fourth` what the Ledoit-Wolf shrinkage needs besides.
        fourth: ``Σ ‖y‖⁴``.
    """

    count: int
    shift: Tensor
    total: Tensor
    scatter: Tensor
    third: Tensor
    fourth: Tensor

    @property
    def mean(self) -> Tensor:
        """``(D,)``."""
        return self.shift + self.total / self.count

    def about(self, shift: Tensor) -> Sums:
        """The same sums about another shift; new tensors."""
        move = self.shift - shift
        square, along = move @ move, self.total @ move
        if self.scatter.ndim == 1:
            trace, turned = self.scatter.sum(), self.scatter * move
            scatter = self.scatter + 2 * self.total * move + self.count * move**2
        else:
            trace, turned = self.scatter.trace(), self.scatter @ move
            crossed = torch.outer(self.total + self.count / 2 * move, move)
            scatter = self.scatter + crossed
            scatter += crossed.T
        third = self.third + 2 * turned + square * self.total + (trace + 2 * along + self.count * square) * move
        fourth = self.fourth + 4 * (turned @ move + self.third @ move + square * along)
        fourth = fourth + 2 * square * trace + self.count * square**2
        return Sums(self.count, shift, self.total + self.count * move, scatter, third, fourth)

    def add(self, other: Sums) -> None:
        """Add the sums of other rows."""
        moved = other.about(self.shift)
        self.count += moved.count
        for name in ("total", "scatter", "third", "fourth"):
            getattr(self, name).add_(getattr(moved, name))


@dataclass
class Group:
    """Statistics of one (class, label).

    Attributes:
        diagonal: only variances are wanted.
        fourth: the moments for Ledoit-Wolf are wanted as well.
        keep: rows held back before they are added to the sums.
        sums: of rows that are not held any more; None as long as all are.
        rows: rows that are held, ``(k, D)`` each.
    """

    diagonal: bool
    fourth: bool
    keep: int
    sums: Sums | None
    rows: list[Tensor]

    @property
    def held(self) -> int:
        """Rows that are held."""
        return sum(map(len, self.rows))

    @property
    def count(self) -> int:
        """All rows so far."""
        return self.held + (self.sums.count if self.sums else 0)

    def add(self, rows: Tensor) -> None:
        """Add rows ``(k, D)``, float32 or float64; they are kept, so they must be the caller's to give.

        Raises:
            ValueError: NaN or infinity.
        """
        if len(rows) == 0:
            return
        width = rows.shape[1]
        limit = self.keep if self.sums else 0 if self.diagonal else width
        if self.held + len(rows) <= limit:
            _check_finite(rows)
            self.rows.append(rows)
        else:
            self._absorb([*self.rows, rows])

    def settle(self) -> None:
        """Add what is held back to the sums, unless the rows themselves are the statistics."""
        if self.sums and self.rows:
            self._absorb(self.rows)

    def merge(self, other: Group) -> None:
        """Add another group's rows and sums; it is left as it is."""
        if other.sums:
            if self.sums:
                self.sums.add(other.sums)
            else:
                self.sums = other.sums.about(other.sums.shift)
        for rows in other.rows:
            self.add(rows)

    def all_rows(self) -> Tensor:
        """The rows ``(n, D)`` of a group that has no sums."""
        return torch.cat(self.rows)

    def _absorb(self, parts: list[Tensor]) -> None:
        rows = parts[0] if len(parts) == 1 else torch.cat(parts)
        self.rows = []
        if self.sums is None:
            shift = (_column_sums(rows) / len(rows)).to(rows.dtype).double()
            zeros = torch.zeros_like(shift)
            scatter = zeros.clone() if self.diagonal else zeros.new_zeros(len(zeros), len(zeros))
            self.sums = Sums(0, shift, zeros, scatter, zeros.clone(), zeros.new_zeros(()))
        sums = self.sums
        centred = rows.sub_(sums.shift.to(rows.dtype))
        total = _column_sums(centred)
        _check_finite(total)
        sums.count += len(rows)
        sums.total += total
        if self.diagonal:
            sums.scatter += centred.double().square().sum(dim=0)
            return
        if self.fourth:
            squares = torch.linalg.vecdot(centred, centred).double()
            sums.third += squares @ centred.double()
            sums.fourth += squares @ squares
        _add_product(sums.scatter, centred)


class Statistics:
    """Groups of all classes, fed with rows in any portions; the same rows in order give the same bits.

    Args:
        classes: ``C``.
        width: ``D``.
        shared: features are ``(N, D)``.
        diagonal: only variances are wanted.
        fourth: the moments for Ledoit-Wolf are wanted as well.
    """

    def __init__(self, *, classes: int, width: int, shared: bool, diagonal: bool, fourth: bool) -> None:
        self.classes, self.width, self.shared = classes, width, shared
        self.diagonal, self.fourth = diagonal, fourth
        columns = 1 if shared else classes
        waiting = max(WAITING_BYTES, 8 * classes * width**2)
        rows = min(PART_BYTES // (4 * width), waiting // (4 * width * columns))
        self.chunk = max(64, 1 << max(rows, 1).bit_length() - 1)
        keep = min(width, PENDING_BYTES // (8 * classes * width))
        self.groups = [[Group(diagonal, fourth, keep, None, []) for _ in (0, 1)] for _ in range(classes)]
        self._waiting: list[tuple[Array | Tensor, Array]] = []

    def counts(self) -> npt.NDArray[np.int64]:
        """Rows per class and label ``(C, 2)``."""
        self.settle()
        return np.array([[group.count for group in pair] for pair in self.groups], dtype=np.int64)

    def add(self, features: Array | Tensor, labels: Array, *, last: bool = False) -> None:
        """Add rows.

        Args:
            features: ``(n, C, D)`` or ``(n, D)``.
            labels: float64 ``(n, C)`` of 0, 1, NaN.
            last: no rows follow, so none need be copied to wait for more.

        Raises:
            ValueError: a feature that is used is not finite.
        """
        start = 0
        while start < len(labels):
            waiting = sum(len(known) for _, known in self._waiting)
            part = slice(start, min(start + self.chunk - waiting, len(labels)))
            start = part.stop
            full = waiting + part.stop - part.start == self.chunk
            if not waiting and (full or last):
                self._add_chunk(features[part], labels[part])
                continue
            self._waiting.append((_copy(features[part]), labels[part].copy()))
            if full:
                self._add_waiting()

    def settle(self) -> None:
        """Work off what waits for more rows."""
        self._add_waiting()
        for pair in self.groups:
            for group in pair:
                group.settle()

    def merge(self, other: Statistics) -> None:
        """Add another's rows, as if they had come after one's own."""
        self.settle()
        other.settle()
        for mine, theirs in zip(self.groups, other.groups, strict=True):
            for group, added in zip(mine, theirs, strict=True):
                group.merge(added)
                group.settle()

    def _add_waiting(self) -> None:
        if not self._waiting:
            return
        features, labels = zip(*self._waiting, strict=True)
        self._waiting = []
        joined = torch.cat(features) if isinstance(features[0], Tensor) else np.concatenate(features)
        self._add_chunk(joined, np.concatenate(labels))

    def _add_chunk(self, features: Array | Tensor, labels: Array) -> None:
        for c, label, rows in _groups_of(labels):
            try:
                self.groups[c][label].add(_take(features if self.shared else features[:, c], rows))
            except ValueError as error:
                raise ValueError(f"{error} in class {c}") from None


def _groups_of(labels: Array) -> Iterator[tuple[int, int, Array]]:
    """Class, label and row numbers of every group that has rows."""
    for c, column in enumerate(labels.T):
        for label in (0, 1):
            rows = np.flatnonzero(column == label)
            if len(rows):
                yield c, label, rows


def _take(column: Array | Tensor, rows: Array) -> Tensor:
    """Rows of ``(n, D)`` as a new float32 or float64 tensor: half precision and integers are widened."""
    if isinstance(column, Tensor):
        taken = column.detach()[torch.from_numpy(rows).to(column.device)]
    else:
        picked = np.asarray(column[rows])
        taken = torch.from_numpy(picked if picked.dtype.kind == "f" else picked.astype(np.float64))
    return taken if taken.dtype == torch.float64 else taken.float()


def _copy(features: Array | Tensor) -> Array | Tensor:
    return features.detach().clone() if isinstance(features, Tensor) else np.array(features)


def _column_sums(rows: Tensor) -> Tensor:
    """Float64 sums over rows; on a CPU by numpy, several times faster than torch, in short runs of their precision."""
    if not rows.is_cpu:
        return rows.sum(dim=0, dtype=torch.float64)
    array = rows.numpy()
    whole = len(array) // RUN * RUN
    with np.errstate(invalid="ignore"):  # infinities of both signs; the caller says so in words
        runs = array[:whole].reshape(-1, RUN, array.shape[1]).sum(axis=1)
        sums = runs.sum(axis=0, dtype=np.float64) + array[whole:].sum(axis=0, dtype=np.float64)
    return torch.from_numpy(sums)


def _add_product(scatter: Tensor, rows: Tensor) -> None:
    """Add ``rowsᵀ rows`` in place.

    On a CPU numpy's product of a matrix with itself is the symmetric one, at half the work. Elsewhere it is formed in
    float64, which no setting of the device's matrix units can shorten.
    """
    if rows.is_cpu:
        array, sums = rows.numpy(), scatter.numpy()
        np.add(sums, array.T @ array, out=sums)
    else:
        wide = rows.double()
        scatter += wide.T @ wide


def _check_finite(values: Tensor) -> None:
    if not bool(values.sum().isfinite()) and not bool(values.isfinite().all()):  # a sum is quick, and may overflow
        raise ValueError("Expected finite features but got NaN or infinity")


def _tensors(sums: Sums) -> list[tuple[str, Tensor]]:
    return [(name, value) for name, value in vars(sums).items() if isinstance(value, Tensor)]


def save_groups(statistics: Statistics) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name, and the shape of the statistics, ready for a file."""
    statistics.settle()
    tensors: dict[str, Tensor] = {}
    for c, pair in enumerate(statistics.groups):
        for label, group in enumerate(pair):
            if group.rows:
                tensors[f"{c}.{label}.rows"] = group.all_rows().cpu()
            if group.sums:
                tensors[f"{c}.{label}.count"] = torch.tensor(group.sums.count)
                tensors |= {f"{c}.{label}.{name}": value.cpu() for name, value in _tensors(group.sums)}
    names = ("classes", "width", "shared", "diagonal", "fourth")
    return tensors, {"statistics": {name: getattr(statistics, name) for name in names}}


def load_groups(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> Statistics:
    """What `save_groups` gave."""
    statistics = Statistics(**about["statistics"])
    for c, pair in enumerate(statistics.groups):
        for label, group in enumerate(pair):
            prefix = f"{c}.{label}."
            own = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            group.rows = [own.pop("rows")] if "rows" in own else []
            if own:
                group.sums = Sums(count=int(own.pop("count")), **own)
    return statistics

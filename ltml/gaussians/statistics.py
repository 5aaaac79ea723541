"""Counts, means and scatter of every (class, label) group in one pass over the rows.

A group keeps its rows themselves while it has no more of them than dimensions: what follows from them is exact and
no ``D × D`` matrix is formed. Once it has more, they become sums about a shift near their mean. The shift keeps the
digits: products are formed in the rows' precision (float32 at least) and added in float64, and without it features
far from zero would lose what their covariance consists of before any accumulator sees it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ltml.gaussians.arrays import Array

PART_BYTES = 8 << 20
"""Rows are worked off in chunks of which one class's part has at most so many bytes."""
WAITING_BYTES = 128 << 20
"""Rows that wait for a full chunk take no more than this in float32, or than half of what the sums take."""
DRIFT = 0.1
"""Rows whose mean is off the shift by more than this share of their spread (squared) get a shift of their own."""
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

    def to(self, device: torch.device) -> Sums:
        """The same on another device."""
        return Sums(self.count, *(value.to(device) for _, value in _tensors(self)))

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
    def buffered_rows(self) -> int:
        """Rows that are held."""
        return sum(map(len, self.rows))

    @property
    def count(self) -> int:
        """All rows so far."""
        return self.buffered_rows + (self.sums.count if self.sums else 0)

    def add(self, rows: Tensor) -> None:
        """Add rows ``(k, D)``, float32 or float64; they are kept, so they must be the caller's to give.

        Raises:
            ValueError: NaN or infinity.
        """
        if len(rows) == 0:
            return
        width = rows.shape[1]
        limit = self.keep if self.sums else 0 if self.diagonal else width
        if self.buffered_rows + len(rows) <= limit:
            _check_finite(rows)
            self.rows.append(rows)
        else:
            self._absorb([*self.rows, rows])

    def settle(self) -> None:
        """Add what is held back to the sums, unless the rows themselves are the statistics."""
        if self.sums and self.rows:
            self._absorb(self.rows)

    def merge(self, other: Group, device: torch.device) -> None:
        """Add another group's rows and sums; it is left as it is."""
        if other.sums and self.sums:
            self.sums.add(other.sums.to(device))
        elif other.sums:
            self.sums = other.sums.about(other.sums.shift).to(device)
        for rows in list(other.rows):
            self.add(rows.to(device, copy=True))

    def all_rows(self) -> Tensor:
        """The rows ``(n, D)`` of a group that has no sums."""
        return torch.cat(self.rows)

    def _absorb(self, parts: list[Tensor]) -> None:
        rows = parts[0] if len(parts) == 1 else torch.cat(parts)
        self.rows = []
        first = self.sums is None
        if self.sums is None:
            mean = _column_sums(rows) / len(rows)
            _check_finite(mean)
            shift = mean.float().double()  # so that every precision can hold it
            self.sums = self._zeros(shift)
        centred = rows.sub_(self.sums.shift.to(rows.dtype))
        total = _column_sums(centred)
        _check_finite(total)
        away, sample = total / len(centred), centred[:RUN].double()
        if not first and away @ away > DRIFT * sample.square().sum() / len(sample):
            moved = away.to(centred.dtype)
            own = self._zeros(self.sums.shift + moved.double())
            self._add_centred(own, centred.sub_(moved), total - len(centred) * moved.double())
            self.sums.add(own)
        else:
            self._add_centred(self.sums, centred, total)

    def _zeros(self, shift: Tensor) -> Sums:
        zeros = torch.zeros_like(shift)
        scatter = zeros.clone() if self.diagonal else zeros.new_zeros(len(zeros), len(zeros))
        return Sums(0, shift, zeros, scatter, zeros.clone(), zeros.new_zeros(()))

    def _add_centred(self, sums: Sums, centred: Tensor, total: Tensor) -> None:
        sums.count += len(centred)
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
        device: where they are kept; the CPU by default.
    """

    def __init__(
        self,
        *,
        classes: int,
        width: int,
        shared: bool,
        diagonal: bool,
        fourth: bool,
        device: torch.device | None = None,
    ) -> None:
        self.classes, self.width, self.shared = classes, width, shared
        self.diagonal, self.fourth = diagonal, fourth
        columns = 1 if shared else classes
        waiting = max(WAITING_BYTES, 8 * classes * width**2)
        rows = min(PART_BYTES // (4 * width), waiting // (4 * width * columns))
        self.chunk = max(64, 1 << max(rows, 1).bit_length() - 1)
        keep = min(width, PENDING_BYTES // (8 * classes * width))
        self.groups = [[Group(diagonal, fourth, keep, None, []) for _ in (0, 1)] for _ in range(classes)]
        self.device = torch.device("cpu") if device is None else device
        self._held: tuple[Array | Tensor, Array] | None = None
        self._waiting = 0

    def counts(self) -> npt.NDArray[np.int64]:
        """Rows per class and label ``(C, 2)``."""
        counts = np.array([[group.count for group in pair] for pair in self.groups], dtype=np.int64)
        if self._held is not None:
            labels = self._held[1][: self._waiting]
            counts += np.stack([(labels == label).sum(axis=0) for label in (0, 1)], axis=1)
        return counts

    def add(self, features: Array | Tensor, labels: Array, *, last: bool = False) -> None:
        """Add rows.

        Args:
            features: ``(n, C, D)`` or ``(n, D)``.
            labels: int8 ``(n, C)``: 0, 1, -1 where unknown.
            last: no rows follow, so none need be copied to wait for more.

        Raises:
            ValueError: a feature that is used is not finite.
        """
        start = 0
        while start < len(labels):
            part = slice(start, min(start + self.chunk - self._waiting, len(labels)))
            start = part.stop
            if not self._waiting and (last or part.stop - part.start == self.chunk):
                self._add_chunk(features[part], labels[part])
            else:
                self._hold(features[part], labels[part])

    def settle(self) -> None:
        """Work off what waits for more rows."""
        self._release()
        for pair in self.groups:
            for group in pair:
                group.settle()

    def settled(self) -> Statistics:
        """These statistics with nothing waiting; a copy if something is, so that to look changes nothing."""
        if not self._waiting and not any(group.sums and group.rows for pair in self.groups for group in pair):
            return self
        copied = copy.deepcopy(self)
        copied.settle()
        return copied

    def merge(self, other: Statistics) -> None:
        """Add another's rows, as if they had come after one's own."""
        theirs = other.settled()
        if theirs is self:
            theirs = copy.deepcopy(self)
        self.settle()
        for pair, added in zip(self.groups, theirs.groups, strict=True):
            for group, more in zip(pair, added, strict=True):
                group.merge(more, self.device)
                group.settle()

    def _hold(self, features: Array | Tensor, labels: Array) -> None:
        """Copy rows to where they wait for a full chunk."""
        if self._held is not None and not _alike(self._held[0], features):
            self._release()
        if self._held is None:
            shape = (self.chunk, *features.shape[1:])
            empty = features.new_empty(shape) if isinstance(features, Tensor) else np.empty(shape, features.dtype)
            self._held = empty, np.empty((self.chunk, self.classes), dtype=np.int8)
        place = slice(self._waiting, self._waiting + len(labels))
        space: Any = self._held[0]
        space[place] = features.detach() if isinstance(features, Tensor) else features
        self._held[1][place] = labels
        self._waiting = place.stop
        if self._waiting == self.chunk:
            self._release()

    def _release(self) -> None:
        """Work off the rows that wait."""
        if self._held is None:
            return
        (features, labels), count = self._held, self._waiting
        self._held, self._waiting = None, 0
        self._add_chunk(features[:count], labels[:count])

    def _add_chunk(self, features: Array | Tensor, labels: Array) -> None:
        for c, label, rows in _groups_of(labels):
            try:
                self.groups[c][label].add(_take(features if self.shared else features[:, c], rows).to(self.device))
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


def _alike(first: Array | Tensor, second: Array | Tensor) -> bool:
    """Whether two batches can wait in one place."""
    kinds = [(x.dtype, x.device) if isinstance(x, Tensor) else (x.dtype, None) for x in (first, second)]
    return kinds[0] == kinds[1]


def check_known_finite(features: Array | Tensor, labels: Array) -> None:
    """Refuse NaN and infinity in features of known entries.

    Raises:
        ValueError: names the class.
    """
    for c in range(labels.shape[1]):
        column = features if features.ndim == 2 else features[:, c]
        try:
            _check_finite(_take(column, np.flatnonzero(labels[:, c] >= 0)))
        except ValueError as error:
            raise ValueError(f"{error} in class {c}") from None


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
    statistics = statistics.settled()
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

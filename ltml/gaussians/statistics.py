"""Accumulate counts, means and scatter of every (class, label) group in one pass over the rows.

A group stores its rows while it has no more of them than dimensions: results are then exact, and no ``D × D`` matrix is
formed. With more rows it keeps sums about a shift near their mean. The shift preserves digits: products are formed in
the precision of the rows (float32 at least) and added in float64, and without a shift features far from zero would
lose their covariance to rounding before it is accumulated.
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
"""Largest size of one class's part of a chunk of rows, in bytes."""
WAITING_BYTES = 128 << 20
"""Largest size of the buffer for an incomplete chunk, in bytes of float32, or half the size of the sums if larger."""
DRIFT = 0.1
"""Largest squared distance between the mean of rows and the shift, relative to the spread of the rows.

Rows farther away are summed about a shift of their own.
"""
RUN = 32
"""Number of rows that are summed in their own precision before the sum is converted to float64."""
PENDING_BYTES = 24 << 20
"""Largest size of the rows that all groups buffer, in bytes, so that a few rows do not cost a whole product."""


@dataclass
class Sums:
    """Sums over rows ``x`` about a shift, with ``y = x − shift``; all float64.

    Attributes:
        count: number of rows.
        shift: ``(D,)``.
        total: ``Σ y``, ``(D,)``.
        scatter: ``Σ y yᵀ``, ``(D, D)``, or its diagonal ``(D,)``.
        third: ``Σ ‖y‖² y``, ``(D,)``; used, like `fourth`, by the Ledoit-Wolf shrinkage.
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
        """Return the mean of the rows, ``(D,)``."""
        return self.shift + self.total / self.count

    def about(self, shift: Tensor) -> Sums:
        """Return the sums about another shift, as new tensors."""
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
        """Return the sums on another device."""
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
        diagonal: whether only variances are computed.
        fourth: whether the moments for Ledoit-Wolf are computed as well.
        keep: largest number of rows to buffer beside the sums.
        sums: sums over the rows that are not buffered; None while all are.
        rows: buffered rows, ``(k, D)`` each.
    """

    diagonal: bool
    fourth: bool
    keep: int
    sums: Sums | None
    rows: list[Tensor]

    @property
    def buffered_rows(self) -> int:
        """Return the number of buffered rows."""
        return sum(map(len, self.rows))

    @property
    def count(self) -> int:
        """Return the number of all rows."""
        return self.buffered_rows + (self.sums.count if self.sums else 0)

    def add(self, rows: Tensor) -> None:
        """Add rows ``(k, D)``, float32 or float64; takes ownership of them and may overwrite them.

        Raises:
            ValueError: if they hold NaN or infinity.
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
        """Add buffered rows to the sums, if there are sums."""
        if self.sums and self.rows:
            self._absorb(self.rows)

    def merge(self, other: Group, device: torch.device) -> None:
        """Add the rows and sums of another group, which is not changed."""
        if other.sums and self.sums:
            self.sums.add(other.sums.to(device))
        elif other.sums:
            self.sums = other.sums.about(other.sums.shift).to(device)
        for rows in list(other.rows):
            self.add(rows.to(device, copy=True))

    def all_rows(self) -> Tensor:
        """Return the rows ``(n, D)`` of a group without sums."""
        return torch.cat(self.rows)

    def _absorb(self, parts: list[Tensor]) -> None:
        rows = parts[0] if len(parts) == 1 else torch.cat(parts)
        self.rows = []
        first = self.sums is None
        if self.sums is None:
            mean = _column_sums(rows) / len(rows)
            _check_finite(mean)
            shift = mean.float().double()  # so that every precision represents it exactly
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
    """Groups of all classes; the same rows in the same order give the same bits, however they are divided into calls.

    Args:
        classes: ``C``.
        width: ``D``.
        shared: whether features are ``(N, D)``.
        diagonal: whether only variances are computed.
        fourth: whether the moments for Ledoit-Wolf are computed as well.
        device: device of the statistics; the CPU by default.
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
        """Return the number of rows per class and label ``(C, 2)``."""
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
            last: whether no rows follow, so that none are copied to the buffer.

        Raises:
            ValueError: if a feature of a known entry is not finite.
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
        """Process all buffered rows."""
        self._release()
        for pair in self.groups:
            for group in pair:
                group.settle()

    def settled(self) -> Statistics:
        """Return statistics without buffered rows: these, or a processed copy if rows are buffered."""
        if not self._waiting and not any(group.sums and group.rows for pair in self.groups for group in pair):
            return self
        copied = copy.deepcopy(self)
        copied.settle()
        return copied

    def merge(self, other: Statistics) -> None:
        """Add the rows of other statistics, as if they had been added after the rows of these."""
        theirs = other.settled()
        if theirs is self:
            theirs = copy.deepcopy(self)
        self.settle()
        for pair, added in zip(self.groups, theirs.groups, strict=True):
            for group, more in zip(pair, added, strict=True):
                group.merge(more, self.device)
                group.settle()

    def _hold(self, features: Array | Tensor, labels: Array) -> None:
        """Copy rows to the buffer for an incomplete chunk."""
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
        """Process the buffered rows."""
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
    """Yield class, label and row numbers of every group with rows."""
    for c, column in enumerate(labels.T):
        for label in (0, 1):
            rows = np.flatnonzero(column == label)
            if len(rows):
                yield c, label, rows


def _take(column: Array | Tensor, rows: Array) -> Tensor:
    """Return rows of ``(n, D)`` as a new float32 or float64 tensor; half precision and integers are widened."""
    if isinstance(column, Tensor):
        taken = column.detach()[torch.from_numpy(rows).to(column.device)]
    else:
        picked = np.asarray(column[rows])
        taken = torch.from_numpy(picked if picked.dtype.kind == "f" else picked.astype(np.float64))
    return taken if taken.dtype == torch.float64 else taken.float()


def _alike(first: Array | Tensor, second: Array | Tensor) -> bool:
    """Return whether two batches can share a buffer."""
    kinds = [(x.dtype, x.device) if isinstance(x, Tensor) else (x.dtype, None) for x in (first, second)]
    return kinds[0] == kinds[1]


def check_known_finite(features: Array | Tensor, labels: Array) -> None:
    """Check that features of known entries are finite.

    Raises:
        ValueError: if one is NaN or infinite; names the class.
    """
    for c in range(labels.shape[1]):
        column = features if features.ndim == 2 else features[:, c]
        try:
            _check_finite(_take(column, np.flatnonzero(labels[:, c] >= 0)))
        except ValueError as error:
            raise ValueError(f"{error} in class {c}") from None


def _column_sums(rows: Tensor) -> Tensor:
    """Return float64 sums over rows ``(D,)``.

    On a CPU numpy sums short runs in the rows' precision first, several times faster than torch.
    """
    if not rows.is_cpu:
        return rows.sum(dim=0, dtype=torch.float64)
    array = rows.numpy()
    whole = len(array) // RUN * RUN
    with np.errstate(invalid="ignore"):  # infinities of both signs, which the caller reports
        runs = array[:whole].reshape(-1, RUN, array.shape[1]).sum(axis=1)
        sums = runs.sum(axis=0, dtype=np.float64) + array[whole:].sum(axis=0, dtype=np.float64)
    return torch.from_numpy(sums)


def _add_product(scatter: Tensor, rows: Tensor) -> None:
    """Add ``rowsᵀ rows`` in place.

    On a CPU numpy multiplies a matrix with itself at half the work, using symmetry. Elsewhere the product is formed in
    float64, whose precision no setting of the device's matrix units reduces.
    """
    if rows.is_cpu:
        array, sums = rows.numpy(), scatter.numpy()
        np.add(sums, array.T @ array, out=sums)
    else:
        wide = rows.double()
        scatter += wide.T @ wide


def _check_finite(values: Tensor) -> None:
    if not bool(values.sum().isfinite()) and not bool(values.isfinite().all()):  # the quick sum may overflow
        raise ValueError("Expected finite features but got NaN or infinity")


def _tensors(sums: Sums) -> list[tuple[str, Tensor]]:
    return [(name, value) for name, value in vars(sums).items() if isinstance(value, Tensor)]


def save_groups(statistics: Statistics) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors by name and the metadata of the statistics, ready to be saved."""
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


def load_groups(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> Statistics:
    """Rebuild the statistics from the result of `save_groups`."""
    statistics = Statistics(**metadata["statistics"])
    for c, pair in enumerate(statistics.groups):
        for label, group in enumerate(pair):
            prefix = f"{c}.{label}."
            own = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            group.rows = [own.pop("rows")] if "rows" in own else []
            if own:
                group.sums = Sums(count=int(own.pop("count")), **own)
    return statistics

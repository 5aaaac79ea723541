"""`union`: several partially labelled datasets as one, with a label unknown where a source never labels it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ltml.arrays import Codes, IntArray
from ltml.csv_table import read_csv_table
from ltml.data.context import DataContext
from ltml.data.dataset import Dataset, Units
from ltml.data.faults import Fault, Faults
from ltml.data.images import JoinedImages
from ltml.data.label_codes import UNKNOWN
from ltml.data.label_names import Vocabulary
from ltml.data.splits import SPLITS, check_groups_apart, divide
from ltml.data.subset import choose_splits
from ltml.data.table import load_rows
from ltml.errors import InputError, first_few, in_short, suggest
from ltml.registry import DATASETS
from ltml.seeds import derive_seed

log = logging.getLogger(__name__)


class UnionSource(BaseModel):
    """One dataset of a union; further keys are that dataset's own options."""

    model_config = ConfigDict(extra="allow", frozen=True)
    type: str = Field(description="`ltml list datasets`")
    name: str = Field("", description="what the source is called; empty: its type")
    labels_kept: tuple[str, ...] | None = Field(
        None, description="labels that stay known in train and val, all others become unknown in them; null: all"
    )
    part: Annotated[tuple[int, int], Field(description="[k, n]")] | None = Field(
        None, description="[k, n]: the k-th of n disjoint parts of its training groups; null: all"
    )
    images: Annotated[int, Field(gt=0)] | None = Field(None, description="training images, drawn by seed; null: all")
    patients: str = Field(
        "", description="whose numbering of groups it has: sources with the same one share patients; empty: its own"
    )

    @property
    def title(self) -> str:
        """Return its name, or its type without one."""
        return self.name or self.type

    @property
    def options(self) -> dict[str, Any]:
        """Return the dataset's own options."""
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _options_exist(self) -> UnionSource:
        if self.part is not None and not 1 <= self.part[0] <= self.part[1]:
            raise ValueError(f"part of source '{self.title}' must be [k, n] with 1 ≤ k ≤ n, not {list(self.part)}")
        if ":" in self.title or "/" in self.title:
            raise ValueError(f"source name '{self.title}': ':' and '/' are not allowed")
        try:
            model = DATASETS.options(self.type)
            checked = model.model_validate_json(json.dumps(self.options, default=str), strict=True)
        except InputError as error:
            raise ValueError(f"data.sources: {error}") from None
        except ValidationError as error:
            problem = error.errors()[0]
            key = ".".join(str(step) for step in problem["loc"])
            allowed = (*UnionSource.model_fields, *model.model_fields)
            hint = suggest(key, allowed) if problem["type"] == "extra_forbidden" else problem["msg"]
            raise ValueError(f"source '{self.title}': {key} = {in_short(problem['input'])}: {hint}") from None
        if self.model_extra is not None:
            self.model_extra.update({name: getattr(checked, name) for name in self.model_extra})
        return self


@DATASETS.register("union")
def load(
    context: DataContext,
    *,
    sources: Annotated[tuple[UnionSource, ...], Field(min_length=1, description="the datasets")],
    labels: Annotated[tuple[str, ...] | None, Field(description="canonical labels to keep; null: all")] = None,
    aliases: Annotated[dict[str, str], Field(description="canonical name by another name of a label")] = {},  # noqa: B006
    separate: Annotated[
        bool, Field(description="a label of two sources is two classes, 'source: label' (the multi-task comparison)")
    ] = False,
    subclass_of: Annotated[
        dict[str, str],
        Field(description="parent label by label: a positive makes an unknown parent positive, a negative parent it"),
    ] = {},  # noqa: B006
) -> Dataset:
    """Several partially labelled datasets in one vocabulary; unknown where a source never labels a class.

    The files of a source lie in ``data.roots.<source>``, in ``data.root/<source>`` or in ``data.root/<type>``. Each
    source keeps its own split, unless ``data.split.file`` gives one; that says which rows are used, so `part` and
    `images` do not apply. Ids and groups are preceded by the source's name. Of several sources with the same data
    (its parts, say) only the first is tested on, and they share their patients.

    Raises:
        InputError: a source or a label does not exist, or a source cannot be loaded.
    """
    titles = [source.title for source in sources]
    if repeated := sorted({title for title in titles if titles.count(title) > 1}):
        raise InputError(f"data.sources: {first_few(repeated)} appears more than once; give each its own name")
    if strange := sorted(context.roots.keys() - set(titles)):
        raise InputError(f"data.roots names '{strange[0]}', which is no source: {suggest(strange[0], titles)}")
    if context.root is not None:
        context.need_root("union")
    if context.split_file is not None:
        _check_split_file(context.split_file, titles)
    owners = [_first_alike(context, sources, number) for number in range(len(sources))]
    parts: Sequence[Dataset] = [_load_source(context, source) for source in sources]
    if separate:  # each source has classes of its own, and is tested on them
        parts, sources = zip(*map(_apart, parts, sources), strict=True)
    else:
        parts = [
            part if owner == n else _untested(part) for n, (part, owner) in enumerate(zip(parts, owners, strict=True))
        ]
    vocabulary = Vocabulary(aliases)
    canonical = [[vocabulary.canonical(name) for name in part.label_names] for part in parts]
    _check_aliases(aliases, parts)
    chosen = _chosen_labels(labels, vocabulary)
    if separate:
        chosen = tuple(name for name in chosen if name not in _unbudgeted(sources, canonical, vocabulary))
    translated = [
        _translate(part, source, sources[owner], names, chosen, vocabulary)
        for part, source, owner, names in zip(parts, sources, owners, canonical, strict=True)
    ]
    union = _join(translated)
    codes = _infer(_codes(union), chosen, subclass_of, vocabulary, context.faults)
    units = union.units
    if units is not None:
        units = replace(units, codes=_infer(units.codes, chosen, subclass_of, vocabulary, Faults(collect=True)))
    check_groups_apart(union.table["group"], union.splits, "the union", context.faults)
    return replace(union, targets=(codes == 1).astype(np.uint8), known=codes != UNKNOWN, units=units)


def _load_source(context: DataContext, source: UnionSource) -> Dataset:
    inner = replace(
        context,
        root=_folder(context, source),
        roots={},
        id_prefix=f"{context.id_prefix}{source.title}:",
        source=source.title,
        root_key=f"data.roots.{source.title}",
        root_hint=f", or a folder '{source.title}' in data.root",
    )
    dataset = load_rows(source.type, inner, **source.options)
    return dataset if context.split_file is not None else _cut_train(dataset, source, context.seed)


def _cut_train(dataset: Dataset, source: UnionSource, seed: int) -> Dataset:
    """Restrict the training rows to `part` and `images`."""
    if source.part is not None:
        number, count = source.part
        train = dataset.splits["train"]
        groups = dataset.table["group"].iloc[train].tolist()
        if len(set(groups)) < count:
            raise InputError(f"source '{source.title}' has {len(set(groups))} training groups, too few for part")
        chosen = train[divide(groups, [1] * count, derive_seed(seed, "part"))[number - 1]]
        dataset = choose_splits(dataset, {**dataset.splits, "train": chosen}, f"not in part {number} of {count}")
    train = dataset.splits["train"]
    if source.images is not None and source.images < len(train):
        rng = np.random.default_rng(derive_seed(seed, "images", source.title))
        chosen = np.sort(rng.permutation(train)[: source.images])
        dataset = choose_splits(dataset, {**dataset.splits, "train": chosen}, f"more than images={source.images}")
    return dataset


def _unbudgeted(sources: Sequence[UnionSource], canonical: Sequence[Sequence[str]], vocabulary: Vocabulary) -> set[str]:
    """Return separate classes that the label budget leaves unknown in train, so that nothing can be learned."""
    lost: set[str] = set()
    for source, names in zip(sources, canonical, strict=True):
        if source.labels_kept is not None:
            lost |= set(names) - {vocabulary.canonical(name) for name in source.labels_kept}
    return lost


def _apart(dataset: Dataset, source: UnionSource) -> tuple[Dataset, UnionSource]:
    """Make the labels of a source its own by prefixing them with its name."""
    kept = source.labels_kept and tuple(f"{source.title}: {name}" for name in source.labels_kept)
    names = tuple(f"{source.title}: {name}" for name in dataset.label_names)
    return replace(dataset, label_names=names), source.model_copy(update={"labels_kept": kept})


def _folder(context: DataContext, source: UnionSource) -> Path | None:
    """Return the folder of a source, if it is given."""
    if source.title in context.roots or context.root is None:
        return context.roots.get(source.title)
    inside = (context.root / name for name in (source.title, source.type))
    return next((folder for folder in inside if folder.is_dir()), None)


def _first_alike(context: DataContext, sources: Sequence[UnionSource], number: int) -> int:
    """Return the first source with the same type, options and folder as this one."""
    data = [(source.type, source.options, _folder(context, source)) for source in sources]
    return data.index(data[number])


def _untested(dataset: Dataset) -> Dataset:
    kept = {name: rows for name, rows in dataset.splits.items() if name in ("train", "val")}
    return choose_splits(dataset, kept, "tested as another source already")


def _check_split_file(file: Path, titles: Sequence[str]) -> None:
    """Refuse a stored split with ids of no source."""
    ids = read_csv_table(file, "data.split.file", ("id",))["id"]
    strange = ids[~ids.str.startswith(tuple(f"{title}:" for title in titles))]
    if len(strange):
        raise InputError(
            f"{file}, line {strange.index[0]}: the id '{strange.iloc[0]}' is of no source ({', '.join(titles)}); "
            "ids of a union begin with the source's name and ':'"
        )


def _check_aliases(aliases: Mapping[str, str], parts: Sequence[Dataset]) -> None:
    labelled = [name for part in parts for name in part.label_names]
    spelled = {name.replace("_", " ").casefold() for name in (*labelled, *aliases.values())}
    for name in aliases:
        if name.replace("_", " ").casefold() not in spelled:
            raise InputError(f"data.aliases names '{name}', which no source labels: {suggest(name, labelled, most=40)}")


def _codes(dataset: Dataset) -> Codes:
    return np.where(dataset.known, dataset.targets.astype(np.int8), np.int8(UNKNOWN))


def _chosen_labels(labels: Sequence[str] | None, vocabulary: Vocabulary) -> tuple[str, ...]:
    known = vocabulary.names()
    if labels is None:
        return known
    chosen = tuple(vocabulary.canonical(name) for name in labels)
    for name, given in zip(chosen, labels, strict=True):
        if name not in known:
            raise InputError(f"data.labels names '{given}', which no source labels: {suggest(given, known, most=40)}")
    if len(set(chosen)) < len(chosen):
        raise InputError(f"data.labels names one label more than once: {first_few(labels, most=40)}")
    return chosen


def _in_vocabulary(codes: Codes, names: Sequence[str], chosen: Sequence[str]) -> Codes:
    """Return the codes of a source in the columns of the union; labels with one canonical name are merged."""
    joined = np.full((len(codes), len(chosen)), UNKNOWN, dtype=np.int8)
    for c, name in enumerate(chosen):
        columns = codes[:, [i for i, other in enumerate(names) if other == name]]
        if columns.shape[1]:
            present, absent = (columns == 1).any(axis=1), (columns == 0).all(axis=1)
            joined[:, c] = np.select([present, absent], [1, 0], UNKNOWN)
    return joined


def _translate(
    dataset: Dataset,
    source: UnionSource,
    owner: UnionSource,
    names: Sequence[str],
    chosen: tuple[str, ...],
    vocabulary: Vocabulary,
) -> Dataset:
    """Translate a source to the labels of the union; prefix ids with its name and groups with their owner's."""
    dropped = _dropped_labels(source, dataset.label_names, names, chosen, vocabulary)
    codes = _in_vocabulary(_codes(dataset), names, chosen)
    budgeted = np.concatenate([dataset.splits["train"], dataset.splits["val"]])
    codes[np.ix_(budgeted, dropped)] = UNKNOWN
    units = dataset.units
    if units is not None:
        of_unit = _in_vocabulary(units.codes, names, chosen)
        of_unit[np.ix_(np.unique(units.of_row[budgeted]), dropped)] = UNKNOWN
        ids = _prefixed(source.title, units.ids)
        units = replace(units, ids=ids, codes=of_unit, choice=_translate_choice(units, names, chosen))
    ids = _prefixed(source.title, dataset.table["id"])
    groups = _prefixed(source.patients or owner.patients or owner.title, dataset.table["group"])
    return replace(
        dataset,
        name=source.title,
        label_names=chosen,
        table=dataset.table.assign(id=ids, group=groups, source=source.title),
        targets=(codes == 1).astype(np.uint8),
        known=codes != UNKNOWN,
        units=units,
    )


def _translate_choice(units: Units, names: Sequence[str], chosen: tuple[str, ...]) -> npt.NDArray[np.int8] | None:
    """Translate `Units.choice` to the labels of the union; the mean for labels that the source does not have."""
    if units.choice is None:
        return None
    translated = np.zeros((len(units.ids), len(chosen)), dtype=np.int8)
    for column, name in enumerate(names):
        if name in chosen:
            translated[:, chosen.index(name)] = units.choice[:, column]
    return translated


def _prefixed(title: str, names: Iterable[object]) -> npt.NDArray[np.object_]:
    return np.array([f"{title}:{name}" for name in names], dtype=object)


def _dropped_labels(
    source: UnionSource,
    label_names: Sequence[str],
    names: Sequence[str],
    chosen: Sequence[str],
    vocabulary: Vocabulary,
) -> IntArray:
    """Return the columns that are not in the source's label budget."""
    if source.labels_kept is None:
        return np.empty(0, dtype=np.int64)
    kept = {vocabulary.canonical(name): name for name in source.labels_kept}
    for name, given in kept.items():
        if name not in names:
            hint = suggest(given, label_names, most=40)
            raise InputError(f"labels_kept of source '{source.title}' names '{given}', which it does not label: {hint}")
    return np.flatnonzero([name not in kept for name in chosen])


def _infer(
    codes: Codes, names: Sequence[str], subclass_of: Mapping[str, str], vocabulary: Vocabulary, faults: Faults
) -> Codes:
    """Infer unknown labels from their parents and children; labels of a source itself are never changed."""
    filled, before = codes.copy(), None
    pairs = [[vocabulary.canonical(name) for name in pair] for pair in subclass_of.items()]
    for name in (name for pair in pairs for name in pair):
        if name not in names:
            raise InputError(f"data.subclass_of names '{name}', which no source labels: {suggest(name, names)}")
    columns = [(names.index(child), names.index(parent)) for child, parent in pairs]
    while before is None or (filled != before).any():  # one inferred label may imply another
        before = filled.copy()
        for inner, outer in columns:
            filled[(filled[:, inner] == 1) & (filled[:, outer] == UNKNOWN), outer] = 1
            filled[(filled[:, outer] == 0) & (filled[:, inner] == UNKNOWN), inner] = 0
    for (inner, outer), pair in zip(columns, pairs, strict=True):
        conflicts = int(((filled[:, inner] == 1) & (filled[:, outer] == 0)).sum())
        message = f"{conflicts} row(s) have {pair[0]} but not {pair[1]}, of which it is a sub-class; left as labelled"
        faults.doubt([Fault("sub-class without its class", pair[0], message)] if conflicts else [])
    if subclass_of:
        log.info("subclass_of made %d unknown labels known", int((filled != codes).sum()))
    return filled


def _join(parts: Sequence[Dataset]) -> Dataset:
    """Concatenate datasets with the same labels."""
    per_row = {part.images_per_row for part in parts}
    if len(per_row) > 1:
        raise InputError("the sources of a union must all have the same number of images per row")
    starts = np.cumsum([0, *(len(part.table) for part in parts[:-1])])
    order = dict.fromkeys([*SPLITS, *(name for part in parts for name in part.splits)])
    nothing = np.empty(0, dtype=np.int64)
    return Dataset(
        name="union",
        label_names=parts[0].label_names,
        table=pd.concat([part.table for part in parts], ignore_index=True),
        targets=np.concatenate([part.targets for part in parts]),
        known=np.concatenate([part.known for part in parts]),
        splits={
            name: np.concatenate(
                [start + part.splits.get(name, nothing) for start, part in zip(starts, parts, strict=True)]
            )
            for name in order
        },
        images=JoinedImages([(part.images, len(part.table)) for part in parts]),
        units=_join_units(parts),
        images_per_row=per_row.pop(),
        published=tuple(version for part in parts for version in part.published),
        label_files={f"{part.name}/{name}": digest for part in parts for name, digest in part.label_files.items()},
        left_out={f"{part.name}: {rule}": count for part in parts for rule, count in part.left_out.items()},
    )


def _join_units(parts: Sequence[Dataset]) -> Units | None:
    """Concatenate the units of all sources; in a source without units each row is a unit."""
    if all(part.units is None for part in parts):
        return None
    units = [part.units or _rows_as_units(part) for part in parts]
    starts = np.cumsum([0, *(len(part.ids) for part in units[:-1])])
    return Units(
        ids=np.concatenate([part.ids for part in units]),
        codes=np.concatenate([part.codes for part in units]),
        of_row=np.concatenate([start + part.of_row for start, part in zip(starts, units, strict=True)]),
        choice=None if all(part.choice is None for part in units) else np.concatenate([_choice_of(p) for p in units]),
    )


def _choice_of(units: Units) -> npt.NDArray[np.int8]:
    return np.zeros(units.codes.shape, dtype=np.int8) if units.choice is None else units.choice


def _rows_as_units(part: Dataset) -> Units:
    return Units(part.table["id"].to_numpy(dtype=object), _codes(part), np.arange(len(part.table)))

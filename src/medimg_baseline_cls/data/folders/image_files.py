"""Turn a folder of class folders into a list of image files with class and split folder.

Expected: `data_dir/{train,val,test}/<CLASS>/...`, val/ optional, or `data_dir/<CLASS>/...`
where there is no split. Hidden and system files, files that are not images by suffix and
content, and unknown folders are skipped, counted and reported.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Literal

from medimg_baseline_cls.data.classes import judge_class_count, judge_stray_classes
from medimg_baseline_cls.data.folders import cases
from medimg_baseline_cls.data.folders.class_folders import (
    choose_classes,
    infer_companions,
    infer_empty,
    infer_layout,
    join_spellings,
    note_classes,
)
from medimg_baseline_cls.data.folders.layout import Level, infer_inner_splits, require_classes
from medimg_baseline_cls.data.folders.masks import find_companions
from medimg_baseline_cls.data.folders.split_folders import (
    AS_TABLE,
    find_split_folders,
    is_folder,
    is_system_name,
    note_folders,
    require_test,
    shorten_list,
)
from medimg_baseline_cls.data.read import FileSorter, describe_files, is_image_name
from medimg_baseline_cls.errors import DataError
from medimg_baseline_cls.schema import FINDING_SEPARATOR, UNKNOWN_MARK, Inference, Task
from medimg_baseline_cls.utils.own_output import is_own, looks_own
from medimg_baseline_cls.utils.quantities import say_count
from medimg_baseline_cls.utils.seed import derive_key

ListingKind = Literal["split folders", "class folders", "table", "npz"]


@dataclass(frozen=True, slots=True)
class ListedFile:
    """One image: `path` relative to the data folder, its label text, its split ("": none).

    `group` is the patient if the data name one; `subgroups` belong to the listing's
    `subgroup_names`. `row` is that of the table, counted as a spreadsheet does; 0: no table.
    `masks` are files next to the image, never an input, if every image has some.
    """

    path: str
    label: str
    folder: str
    group: str | None = None
    subgroups: tuple[str, ...] = ()
    row: int = field(default=0, compare=False)  # where it is named, not what it is
    masks: tuple[str, ...] = ()

    def locate(self, error: str) -> str:
        """Return what is wrong with the file, with its row of the table if it has one.

        >>> ListedFile("a.png", "A", "", row=5).locate("the file is not there")
        'the file is not there (row 5 of the table)'
        """
        return f"{error} (row {self.row} of the table)" if self.row else error


@dataclass(frozen=True, slots=True)
class Listing:
    """The contents of a data folder.

    Attributes:
        files: the images, sorted by path.
        class_names: the class order.
        num_ignored: hidden and system files that were skipped.
        notes: what a user should know, one sentence each.
        task: how to read the labels.
        subgroup_names: of the subgroups of each image.
        unused_columns: of a table, those that no setting names.
        kind: where the list comes from: "split folders", "class folders", "table" or "npz".
        inferences: what was inferred from names of folders, files and columns.
        group_column: the column of the table that names the patient; None: none does.
    """

    files: tuple[ListedFile, ...]
    class_names: tuple[str, ...]
    num_ignored: int
    notes: tuple[str, ...]
    task: Task = "multiclass"
    subgroup_names: tuple[str, ...] = ()
    unused_columns: tuple[str, ...] = ()
    kind: ListingKind = "split folders"
    inferences: tuple[Inference, ...] = ()
    group_column: str | None = None


def list_images(
    data_dir: Path,
    *,
    class_names: Sequence[str] | None = None,
    limit: int | None = None,
    fewest_classes: int = 2,
    as_table: str = AS_TABLE,
    has_volumes: bool = False,
) -> Listing:
    """List the images of a data folder, its classes and what was left out.

    Args:
        data_dir: contains train/, test/ and perhaps val/, each with one folder per class; or
            class folders alone.
        class_names: the classes and their order; None takes the folders of train/, sorted
            (numbers by value).
        limit: keep about this many images, spread over folders and classes; None keeps all.
        fewest_classes: 1 where there may be images of one class alone.
        as_table: how the command is given a table instead, for a refusal.
        has_volumes: whether cases are volumes, see `data.folders.cases`.

    Raises:
        DataError: The layout is not supported; the message says what to do.
    """
    needs_split = fewest_classes > 1  # else all are scored, whatever split they are in
    folders = find_split_folders(data_dir, needs_train=needs_split)
    walk = _Walk(data_dir, has_volumes=has_volumes)
    for name, folder in sorted((folders or {"": data_dir}).items()):
        walk.visit_split(name, folder)
    walk.set_companions_aside(depth=1 + bool(folders))
    if has_volumes:
        walk.join_slices(depth=1 + bool(folders))
    first = "train" if "train" in folders else next(iter(folders), "")
    level = walk.level(folders.get(first, data_dir), split=first)
    level = replace(level, as_table=as_table)
    require_classes(level, class_names=class_names, fewest=fewest_classes)
    if needs_split:
        require_test(data_dir, folders)
    classes, spellings = join_spellings(_count_labels(walk.files), class_names)
    listed = [
        f if classes[f.label] == f.label else replace(f, label=classes[f.label]) for f in walk.files
    ]
    counts = _count_labels(listed)
    names = choose_classes(counts, class_names, fewest=fewest_classes)
    files = [file for file in listed if file.label in names]
    if needs_split:
        require_images(files, names, has_split=bool(folders))
    notes = [*note_folders(data_dir, folders), *walk.notes(), *note_classes(counts, names)]
    inferences = [infer_layout(data_dir, folders), *infer_inner_splits(level)]
    inferences += [*walk.inferences(), *spellings]
    if not has_volumes:
        inferences += cases.suspect_slices(map(path_of, files), depth=1 + bool(folders))
    if class_names is None:
        totals = Counter(file.label for file in listed)
        inferences += judge_class_count(totals, where=str(data_dir))
        inferences += judge_stray_classes(totals)
    files, limited = limit_images(files, limit)
    inferences += limited
    files.sort(key=path_of)
    return Listing(
        tuple(files),
        names,
        walk.num_ignored,
        tuple(notes),
        kind="split folders" if folders else "class folders",
        inferences=tuple(inferences),
    )


def require_images(
    files: Sequence[ListedFile],
    class_names: Sequence[str],
    *,
    task: Task = "multiclass",
    has_split: bool = True,
) -> None:
    """Refuse a data set without images of each class to learn from, or without any in test/.

    Where there is no split, TEST and VAL are still to be drawn from all of the images. Of
    several findings each must be positive in some image.
    """
    source = "train" if has_split else ""
    where = "in train/" if has_split else "in the data"
    texts = Counter(file.label for file in files if file.folder == source)
    for name in class_names:
        if task == "multilabel":
            found = any(name in text.split(FINDING_SEPARATOR) for text in texts)
        else:
            found = texts[name] > 0
        if not found:
            raise DataError(f"no usable image of class {name} is left {where}.")
    if has_split and not any(file.folder == "test" for file in files):
        raise DataError("test/ contains no usable image of these classes.")


def path_of(file: ListedFile) -> str:
    """Return the path: the order of files and records."""
    return file.path


class _Walk:
    """Collects the files below the split folders, and counts what it skips."""

    def __init__(self, data_dir: Path, *, has_volumes: bool) -> None:
        self.files: list[ListedFile] = []
        self.num_ignored = 0
        self._data_dir = data_dir
        make = partial(FileSorter, has_volumes=has_volumes)
        self._sorters: defaultdict[str, FileSorter] = defaultdict(make)  # by class
        self._num_outside = 0
        self._num_loose: Counter[str] = Counter()  # images outside the class folders
        self._subfolders: defaultdict[str, list[str]] = defaultdict(list)
        self._companions: tuple[str, ...] = ()
        self._companion_labels: set[str] = set()
        self._has_masks = False
        self._odd_folders: list[str] = []
        self._own_folders: list[str] = []
        self._links: list[str] = []
        self._remarks: list[cases.CaseRemarks] = []

    def visit_split(self, name: str, folder: Path) -> None:
        place = folder.relative_to(self._data_dir).as_posix()
        entries = self._entries(str(folder), "" if place == "." else place)
        own = {e.name: where for e, where in entries if is_folder(e) and is_own(e.path)}
        self._own_folders += own.values()
        self._subfolders[place] = [n for n in self._subfolders[place] if n not in own]
        for entry, relative in entries:
            if entry.name in own:
                continue
            if entry.is_symlink() and _leads_up(entry):
                self._links.append(relative)
            elif is_folder(entry):
                self._visit_class(entry.path, relative, folder=name, label=entry.name)
            elif FileSorter().is_image(Path(entry.path)):
                self._num_loose[name] += 1
            else:
                self._num_outside += 1

    def set_companions_aside(self, *, depth: int) -> None:
        """Leave masks out of the images; where every image has some, it keeps their names."""
        companions = find_companions([file.path for file in self.files], depth=depth)
        self._companions = tuple(sorted(companions.paths))
        self._companion_labels = {f.label for f in self.files if f.path in companions.paths}
        self.files = [file for file in self.files if file.path not in companions.paths]
        self._has_masks = bool(self._companions) and len(companions.masks) == len(self.files)
        if self._has_masks:
            self.files = [replace(f, masks=companions.masks[f.path]) for f in self.files]

    def join_slices(self, *, depth: int) -> None:
        """Make one file of the slices of a volume, which share a folder."""
        folders = {file.path.rpartition("/")[0]: file for file in self.files}
        masks = {file.path: file.masks for file in self.files}
        self.files = []
        for place, file in folders.items():
            is_class = place.count("/") + 1 == depth
            paths, found = cases.expand_folder(self._data_dir, place, is_class=is_class)
            self._remarks.append(found)
            kept = [path for path in paths if path not in self._companions]
            self.files += [replace(file, path=p, masks=masks.get(p, ())) for p in kept]

    def level(self, source: Path, *, split: str) -> Level:
        """Return the folders that are to be the classes of a split, and what is in them."""
        above = len(source.relative_to(self._data_dir).parts)
        counts = Counter(f.path.rpartition("/")[0] for f in self.files if f.folder == split)
        num_images = {tuple(place.split("/")[above:]): n for place, n in counts.items()}
        if self._num_loose[split]:
            num_images[()] = self._num_loose[split]
        return Level(self._data_dir, source, num_images, self._subfolders)

    def inferences(self) -> list[Inference]:
        """Return what was left out because of names: masks, and folders without an image."""
        found = describe_files(self._sorters.values())
        reason = "first bytes, where the suffix does not show it"
        files = [Inference(topic="files", found=found, reason=reason)] if found else []
        companions = infer_companions(self._companions, has_masks=self._has_masks)
        empty = {name: self._sorters[name].left_out for name in self._empty()}
        return [*files, *companions, *infer_empty(empty), *cases.describe_remarks(self._remarks)]

    def _empty(self) -> list[str]:
        used = {file.label for file in self.files} | self._companion_labels
        return sorted(self._sorters.keys() - used)

    def notes(self) -> Iterable[str]:
        if self.num_ignored:
            yield f"{say_count(self.num_ignored, 'hidden or system files')} ignored"
        if empty := self._empty():
            yield f"folders without an image: {shorten_list(empty)}"
        num_loose = self._num_loose.total()
        if num_loose + self._num_outside:
            images = f" ({num_loose} of them images)" if num_loose else ""
            total = num_loose + self._num_outside
            yield f"{say_count(total, 'files')} outside the class folders left out{images}"
        if self._own_folders:
            yield f"folders that medimg has written left out: {shorten_list(self._own_folders)}"
        if self._odd_folders:
            yield f"folders named like images: {shorten_list(self._odd_folders)}"
        if self._links:
            yield f"links to folders not followed: {shorten_list(self._links)}"
        num_nested = sum(f.path.count("/") > 1 + bool(f.folder) for f in self.files)
        if num_nested:
            yield f"{say_count(num_nested, 'images are')} in subfolders of class folders"

    def _visit_class(self, path: str, place: str, *, folder: str, label: str) -> None:
        sorter = self._sorters[label]
        for entry, relative in self._entries(path, place):
            is_inside = is_folder(entry)
            if is_inside and entry.is_symlink():
                self._links.append(relative)  # not followed: it may be a cycle
            elif is_inside:
                if is_image_name(entry.name):
                    self._odd_folders.append(relative)
                self._visit_class(entry.path, relative, folder=folder, label=label)
            elif is_image_name(entry.name) or sorter.is_image(Path(entry.path)):
                self.files.append(ListedFile(relative, label, folder))

    def _entries(self, folder: str, place: str) -> list[tuple[os.DirEntry[str], str]]:
        """Return what is in a folder with its path, sorted, without hidden and system files."""
        try:
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=attrgetter("name"))
        except OSError as error:
            raise DataError(f"{folder} cannot be listed: {error.strerror or error}.") from error
        if place and looks_own({entry.name for entry in entries}):
            self._own_folders.append(place)
            entries = []
        kept = [entry for entry in entries if not is_system_name(entry.name)]
        self._subfolders[place or "."] = [entry.name for entry in kept if is_folder(entry)]
        self.num_ignored += len(entries) - len(kept)
        return [(entry, f"{place}/{entry.name}" if place else entry.name) for entry in kept]


def limit_images(
    files: list[ListedFile], limit: int | None, *, task: Task = "multiclass"
) -> tuple[list[ListedFile], list[Inference]]:
    """Return about `limit` files, if there are more, and what is said of that."""
    if limit is None or limit >= len(files):
        return files, []
    kept = _sample_stratified(files, limit, task=task)
    share = f"{len(kept)} of {len(files)}"
    warning = f"Only {share} images were used (--limit {limit}): a trial, not a result."
    said = Inference(
        topic="images",
        found=share,
        reason=f"--limit {limit}",
        certainty="set",
        flag="--limit none",
        warning=warning,
    )
    return kept, [said]


def _sample_stratified(files: Sequence[ListedFile], limit: int, *, task: Task) -> list[ListedFile]:
    """Return the same share of each folder and class, at least two files.

    Images of several findings count for the rarest of them, or for none.
    """
    texts = Counter(file.label for file in files)
    kinds = _rarest_findings(texts) if task == "multilabel" else {text: text for text in texts}
    cells: defaultdict[tuple[str, str], list[ListedFile]] = defaultdict(list)
    for file in files:
        cells[file.folder, kinds[file.label]].append(file)
    kept: list[ListedFile] = []
    for cell in cells.values():
        count = max(2, round(limit * len(cell) / len(files)))
        kept += sorted(cell, key=_sampling_key)[:count]
    return kept


def _rarest_findings(texts: Mapping[str, int]) -> dict[str, str]:
    """Return of each label text the positive finding that fewest images show; "" for none."""
    shown = {
        text: [part for part in text.split(FINDING_SEPARATOR) if part[:1] not in ("", UNKNOWN_MARK)]
        for text in texts
    }
    counts: Counter[str] = Counter()
    for text, names in shown.items():
        counts.update(dict.fromkeys(names, texts[text]))
    return {
        text: min(names, key=lambda name: (counts[name], name), default="")
        for text, names in shown.items()
    }


def _count_labels(files: Iterable[ListedFile]) -> Counter[tuple[str, str]]:
    return Counter((file.folder, file.label) for file in files)


def _leads_up(entry: os.DirEntry[str]) -> bool:
    """Return whether a link points to a folder that contains it, a cycle."""
    place = Path(entry.path)
    try:
        return place.parent.resolve().is_relative_to(place.resolve())
    except (OSError, RuntimeError):  # a link to itself
        return True


def _sampling_key(file: ListedFile) -> tuple[int, str]:
    return derive_key(0, "limit", file.path), file.path

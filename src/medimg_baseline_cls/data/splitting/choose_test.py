"""Choose TEST: from the data, at random if they have no split, one fold, or one site.

TEST is chosen before VAL, from all images. Patients stay whole: a site with patients who were
imaged elsewhere is refused, and so is a split without TEST.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from medimg_baseline_cls.data.splitting.folds import divide_into_folds, draw_share
from medimg_baseline_cls.data.splitting.group_sampling import draw_stratified
from medimg_baseline_cls.data.splitting.grouping import Group, collect_groups, count_images
from medimg_baseline_cls.errors import ConfigError, DataError, LeakageError
from medimg_baseline_cls.schema import SPLIT_NAMES, ImageRecord, Task, TaskFacts

Strategy = Literal["auto", "folder", "balanced", "stratified"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSettings:
    """How TEST and VAL are chosen.

    Attributes:
        strategy: of VAL. "folder" uses val/; "balanced" takes the same number of images per
            class from train; "stratified" the same share of each class; "auto" is "folder"
            if val/ contains 50 images or more and every class, else "balanced" ("stratified"
            for several findings per image). Unless val/ is used, its images join train
            before the draw.
        val_fraction: share of VAL in what is not TEST, in (0, 1). "balanced" takes at most
            half of the smallest class.
        test_fraction: share of TEST in all images, where they come without a split.
        seed: of every draw.
        num_folds: makes TEST one of so many folds of all images; None: no folds.
        fold: which fold is TEST, from 0.
        fold_repeat: which drawing of the folds.
        site_column: subgroup by which TEST is one site; None: no sites.
        test_site: that site.
    """

    strategy: Strategy = "auto"
    val_fraction: float = 0.1
    test_fraction: float = 0.2
    seed: int = 0
    num_folds: int | None = None
    fold: int = 0
    fold_repeat: int = 0
    site_column: str | None = None
    test_site: str | None = None

    @property
    def is_redrawn(self) -> bool:
        """Return whether TEST is a fold or a site, whatever split the data provide."""
        return self.num_folds is not None or self.site_column is not None


@dataclass(frozen=True, slots=True)
class Draw(TaskFacts):
    """The images in order, how they are to be divided, and what their labels mean."""

    records: Sequence[ImageRecord]
    settings: SplitSettings
    class_names: tuple[str, ...]
    task: Task
    subgroup_names: tuple[str, ...]

    def groups(self, places: Sequence[str], *purpose: str | int) -> list[Group]:
        """Return the groups that are not in TEST, in the order drawn for a purpose."""
        pool = (r for r, place in zip(self.records, places, strict=True) if place != "test")
        return collect_groups(
            pool,
            class_names=self.class_names,
            task=self.task,
            seed=self.settings.seed,
            purpose=("split", *purpose),
        )

    def place(self, places: Sequence[str], drawn: Sequence[Group], *, name: str) -> list[str]:
        """Return the places with the drawn groups in the named split, others in train."""
        names = {group.name for group in drawn}
        return [
            "test" if place == "test" else name if record.group in names else "train"
            for record, place in zip(self.records, places, strict=True)
        ]


def choose_test(draw: Draw) -> tuple[list[str], list[str]]:
    """Return for each image "test" or what else it is before VAL is drawn, and notes.

    Raises:
        ConfigError: There is no such site.
        DataError: The data assign only some images to a split, or have no TEST; or it cannot be
            drawn.
        LeakageError: A patient of the site to leave out was imaged at another one too.
    """
    settings, given = draw.settings, [record.split for record in draw.records]
    found = set(given)
    notes: list[str] = []
    if settings.is_redrawn:
        if found != {""}:
            notes = ["the existing split is ignored: TEST is one fold or site of all images"]
        if settings.site_column is not None:
            return _leave_out_site(draw), notes
        return _leave_out_fold(draw), notes
    if found == {""}:
        parts = "the others and test"
        groups = draw.groups(given, "test")
        drawn = draw_stratified_share(draw, groups, fraction=settings.test_fraction, parts=parts)
        notes = [f"the data have no split: {settings.test_fraction:g} of the images become TEST"]
        return draw.place(given, drawn, name="test"), notes
    if not found <= set(SPLIT_NAMES) or "test" not in found:
        raise DataError(
            f"the images are marked {', '.join(sorted(repr(name) for name in found))}: mark some "
            'of them "test" and every other "train" or "val", or none of them, so that '
            "TEST is drawn here."
        )
    return given, notes


def require_site(
    subgroups: Iterable[tuple[str, ...]],
    subgroup_names: Sequence[str],
    *,
    site_column: str,
    test_site: str | None,
) -> list[str]:
    """Return the site of each image.

    Raises:
        ConfigError: The data have no such column, or no such site.
    """
    if site_column not in subgroup_names:
        raise ConfigError(
            f"site_column = {site_column} is not a column that is kept with the images; expected "
            f"one of {', '.join(subgroup_names) or 'none'}."
        )
    column = subgroup_names.index(site_column)
    sites = [own[column] for own in subgroups]
    if test_site not in sites:
        known = ", ".join(sorted(set(sites)))
        raise ConfigError(
            f"test_site = {test_site} is not a site in {site_column}: expected one of {known}."
        )
    return sites


def draw_stratified_share(
    draw: Draw, groups: Sequence[Group], *, fraction: float, parts: str
) -> list[Group]:
    """Return a stratified share of the groups.

    Args:
        draw: what is divided.
        groups: in a drawn order.
        fraction: share of the images of each class or stratum, in (0, 1).
        parts: what is divided from what, for the message: "train and val".
    """
    if not draw.has_findings:
        return draw_stratified(groups, fraction, class_names=draw.class_names, parts=parts)
    return draw_share(
        groups, fraction, class_names=draw.class_names, seed=draw.settings.seed, parts=parts
    )


def _leave_out_fold(draw: Draw) -> list[str]:
    settings = draw.settings
    everywhere = [""] * len(draw.records)
    assert settings.num_folds is not None
    folds = divide_into_folds(
        draw.groups(everywhere, "folds", settings.fold_repeat),
        settings.num_folds,
        class_names=draw.class_names,
        seed=settings.seed,
        repeat=settings.fold_repeat,
    )
    return draw.place(everywhere, folds[settings.fold], name="test")


def _leave_out_site(draw: Draw) -> list[str]:
    """Return "test" for the images of one site.

    Raises:
        ConfigError: The data have no such column, or no such site.
        DataError: No image of a class is left without the site.
        LeakageError: A patient was imaged at this site and at another one.
    """
    name, site = draw.settings.site_column, draw.settings.test_site
    assert name is not None
    subgroups = (record.subgroups for record in draw.records)
    sites = require_site(subgroups, draw.subgroup_names, site_column=name, test_site=site)
    inside = {r.group for r, own in zip(draw.records, sites, strict=True) if own == site}
    outside = {r.group for r, own in zip(draw.records, sites, strict=True) if own != site}
    if inside & outside:
        first = min(inside & outside)
        pairs = zip(draw.records, sites, strict=True)
        places = ", ".join(sorted({own for record, own in pairs if record.group == first}))
        raise LeakageError(
            f"{len(inside & outside)} group(s) (patients) have images at {site} and at another "
            f"site, such as {first[:48]} at {places}: a site cannot be left out while its "
            "patients stay; leave out these patients, or correct the column."
        )
    # A class of this site alone could be scored, but not learned.
    _require_classes_without_site(draw, sites)
    return ["test" if own == site else "train" for own in sites]


def _require_classes_without_site(draw: Draw, sites: Sequence[str]) -> None:
    """Refuse a site that alone has images of a class, or with a finding."""
    site = draw.settings.test_site
    places = ["test" if own == site else "" for own in sites]
    left = count_images(draw.groups(places))
    everywhere = count_images(draw.groups([""] * len(places)))
    for name in draw.class_names:
        if everywhere[name] and not left[name]:
            raise DataError(
                f"without {draw.settings.site_column} {site} no image of {name} is left to train "
                "on: this site cannot be TEST; leave the site or the class out, or use another "
                "column."
            )

"""The init command: look at a data set and write a settings file for it, with open questions.

Only names and tables are read, no image is decoded. What is sure is set, what is only guessed or
cannot be known is a comment and a question. Nothing is overwritten, and nothing is written into the
data folder.
"""

import re
import tempfile
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medimg_baseline_cls import __version__
from medimg_baseline_cls.config import (
    FIELD_GROUPS,
    FIRST_SETTINGS,
    Config,
    config_to_dict,
    field_facts,
    format_setting,
)
from medimg_baseline_cls.data.folders.image_files import Listing
from medimg_baseline_cls.data.index import name_patients
from medimg_baseline_cls.data.npz import is_npz
from medimg_baseline_cls.data.tables.columns import guess_columns
from medimg_baseline_cls.data.tables.table_file import read_table
from medimg_baseline_cls.errors import ConfigError, DataError
from medimg_baseline_cls.pipeline.steps.early_checks import list_refusals
from medimg_baseline_cls.pipeline.steps.external_data import name_data
from medimg_baseline_cls.pipeline.steps.inferences import (
    describe_certainty,
    find_positive_class,
    infer_task,
)
from medimg_baseline_cls.pipeline.steps.listing import (
    choose_patient_rule,
    find_root,
    list_data,
    source_settings,
)
from medimg_baseline_cls.schema import Inference
from medimg_baseline_cls.utils.faults import ending_plainly
from medimg_baseline_cls.utils.files import write_text_atomic
from medimg_baseline_cls.utils.log import open_log
from medimg_baseline_cls.utils.own_output import require_foreign
from medimg_baseline_cls.utils.quantities import say_count
from medimg_baseline_cls.utils.visible import quote_words, show_hidden

_SOURCES = ("data_dir", "manifest")
_VOLUMES = (
    "Are the NIfTI or .npy files volumes? Then set slices, for example 32, and for CT intensity, "
    "for example lung."
)
_NUM_SLICES = 32
_SLICES = (
    f"Are the images of each folder the slices of a volume? slices: {_NUM_SLICES} was set, as it "
    "looks like that; set 0 if each is an image of its own. For CT set intensity, for example lung."
)
_UNKNOWN_PATIENTS = (
    "Which images are of one patient? Their names do not show it. Set group_regex, or group_column "
    "of a table; group_regex: none if each image is another patient. DICOM files name the patient "
    "themselves."
)


@dataclass(frozen=True)
class InitResult:
    """What was written.

    Attributes:
        file: the settings file.
        settings: those that it sets.
        questions: what remains open.
    """

    file: Path
    settings: Mapping[str, Any]
    questions: tuple[str, ...]


@ending_plainly(is_resumable=False)
def init(data: str | Path, *, output: str | Path | None = None) -> InitResult:
    """Look at a data set and write a commented settings file for it.

    Args:
        data: a folder of class folders, a table of images, or an .npz file.
        output: the file to write (None: NAME.yaml in the current folder, NAME from the data).

    Raises:
        ConfigError: the file exists, or would be written into the data folder.
        DataError: there is no data set.
    """
    source = source_settings(Path(data))
    file = Path(f"{name_data(Path(data))}.yaml") if output is None else Path(output)
    _require_free(file, source)
    settings: dict[str, Any] = {**source}
    inferences: list[Inference] = []
    questions: list[str] = []
    if "manifest" in source:
        for name, column in guess_columns(read_table(Path(data)).columns).items():
            settings[name] = (column,) if name == "label_columns" else column
            what = "image file" if name == "path_column" else "class"
            questions.append(f"Is {column} the column of the {what}? It was chosen by its name.")
    config = Config(**settings)
    listing = _try_listing(config, questions=questions)
    if listing is not None and any(i.topic == "slices" and i.warning for i in listing.inferences):
        settings["slices"] = _NUM_SLICES
        questions.append(_SLICES)
        config = Config(**settings)
        listing = _try_listing(config, questions=questions)
    summary = "not a data set yet: see the open questions"
    if listing is not None:
        summary = _describe(listing)
        inferences = _infer(config, listing)
        settings |= _settle(config, listing, inferences=inferences)
        questions += _ask(config, listing, inferences=inferences)
    lines = [*_write_head(file, summary, questions=questions), *_write_others(inferences)]
    lines += _write_settings(settings, inferences)
    write_text_atomic(file, "\n".join(lines) + "\n")
    _say_next(file, questions)
    return InitResult(file, _to_plain(settings), tuple(questions))


def _require_free(file: Path, source: Mapping[str, Any]) -> None:
    if file.suffix.lower() not in (".yaml", ".yml"):
        raise ConfigError(f"{file}: expected the name of a settings file that ends in .yaml.")
    if file.exists() or file.is_symlink():
        raise ConfigError(f"{file} exists and is not overwritten: pass another name with --output.")
    root = find_root(Config(**source))
    require_foreign(root)
    if "data_dir" in source and file.resolve().is_relative_to(root):
        raise ConfigError(
            f"{file} is inside the data folder {root}, into which nothing is written: pass a name "
            "elsewhere with --output."
        )


def _try_listing(config: Config, *, questions: list[str]) -> Listing | None:
    """Return the images; the refusal of a table or an .npz file is a question."""
    with tempfile.TemporaryDirectory() as place:
        try:
            return list_data(config, cache_dir=Path(place))
        except DataError as error:
            if config.manifest is None and not is_npz(find_root(config)):
                raise
            questions.append(" ".join(map(str, error.args)))
            return None


def _infer(config: Config, listing: Listing) -> list[Inference]:
    """Return what names and tables tell."""
    positive = find_positive_class(config, listing)[1]
    patients = name_patients(listing, rule=choose_patient_rule(config, listing))
    return [*listing.inferences, infer_task(config, listing), positive, patients]


def _settle(config: Config, listing: Listing, *, inferences: Sequence[Inference]) -> dict[str, Any]:
    """Return the settings that are sure enough to be set."""
    settled: dict[str, Any] = {}
    positive = find_positive_class(config, listing)[0]
    if positive is not None and _certainty(inferences, "positive class") == "sure":
        settled["positive_class"] = positive
    if listing.group_column is not None:
        settled["group_column"] = listing.group_column
    return settled


def _ask(config: Config, listing: Listing, *, inferences: Sequence[Inference]) -> list[str]:
    """Return the open questions: guesses, what cannot be known, and what training would refuse."""
    questions: list[str] = []
    if any(file.path.lower().endswith((".nii", ".nii.gz", ".npy")) for file in listing.files):
        questions.append(_VOLUMES)
    for item in inferences:
        if item.certainty == "unknown" and item.topic == "patients":
            questions.append(_UNKNOWN_PATIENTS)
        elif item.warning:
            questions.append(item.warning)
        elif item.certainty == "guess":
            flag = _name_setting(item)
            change = f" If not, set {flag}." if flag else ""
            questions.append(f"{item.topic}: is it {item.found}? From {item.reason}.{change}")
    return questions + [f"Training would stop: {text}" for text in list_refusals(config, listing)]


def _write_head(file: Path, summary: str, *, questions: Sequence[str]) -> Iterator[str]:
    """Yield the lines at the top: the next command, the questions, and what was found."""
    yield f"# Settings of medimg {__version__}, written by medimg init."
    yield f"# To train with them: {quote_words('medimg', 'run', '--config', str(file))}"
    yield "#"
    yield "# Open questions:" if questions else "# Open questions: none."
    for number, question in enumerate(questions, start=1):
        yield from _comment(f"{number}. {question}")
    yield "#"
    yield from _comment(f"Found: {summary}.")


def _write_others(inferences: Sequence[Inference]) -> Iterator[str]:
    """Yield what was inferred that no setting of the file overrides."""
    for item in inferences:
        if not _name_setting(item):
            yield from _comment(f"{item.topic}: {item.found} ({describe_certainty(item)}).")


def _write_settings(settings: Mapping[str, Any], inferences: Sequence[Inference]) -> Iterator[str]:
    """Yield a line for each setting that is set, inferred or usual, below its help."""
    by_setting = {name: item for item in inferences if (name := _name_setting(item))}
    plain, default = _to_plain(settings), config_to_dict(Config())
    for title, names in FIELD_GROUPS.items():
        shown = [n for n in names if n in settings or n in by_setting or n in FIRST_SETTINGS]
        if shown:
            yield from ("", f"# --- {title} ---")
        for name in shown:
            yield from _comment(field_facts()[name].help)
            if name in by_setting:
                item = by_setting[name]
                yield from _comment(f"Inferred: {item.found} ({describe_certainty(item)}).")
            is_set = name in settings
            line = format_setting(name, plain[name] if is_set else default[name])
            yield line if is_set else f"# {line}"


def _to_plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as plain values, as a settings file has them."""
    plain = config_to_dict(Config(**settings))
    return {name: plain[name] for name in settings}


def _comment(text: str) -> list[str]:
    wrap = textwrap.TextWrapper(96, break_long_words=False, break_on_hyphens=False)
    return [f"# {line}" for line in wrap.wrap(show_hidden(text))]


def _name_setting(item: Inference) -> str:
    """Return the setting that overrides an inference; "" if there is none."""
    found = re.match(r"--([a-z-]+)", item.flag)
    name = found[1].replace("-", "_") if found else ""
    return name if name in field_facts() and name not in _SOURCES else ""


def _certainty(inferences: Sequence[Inference], topic: str) -> str:
    return next((item.certainty for item in inferences if item.topic == topic), "")


def _describe(listing: Listing) -> str:
    count = say_count(len(listing.files), "images")
    names = ", ".join(listing.class_names[:8]) + ", ..." * (len(listing.class_names) > 8)
    return f"{listing.kind}, {count}, {listing.task}: {names}"


def _say_next(file: Path, questions: Sequence[str]) -> None:
    log = open_log(None)
    log.info(f"settings: {file}")
    for number, question in enumerate(questions, start=1):
        log.warn(f"open question {number}: {question}")
    name = quote_words(str(file))
    log.info(f"next: medimg check --config {name} && medimg run --config {name}")

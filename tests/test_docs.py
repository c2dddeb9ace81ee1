"""The pages: every command parses, patterns find patients, every snippet runs or compiles.

The commands of the pages in `tests/test_readme.py` run as well. Each snippet of a public data set
runs on a tiny fake of its set, with the set's own columns and file names; what it writes must have
the columns that the set's command names.
"""

import ast
import csv
import functools
import importlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

from medimg_baseline_cls.cli import commands as cli_commands
from medimg_baseline_cls.cli.flags import parse_call
from medimg_baseline_cls.cli.own_flags import OWN_FLAGS
from medimg_baseline_cls.cli.request import read_request
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.data.index import find_groups, list_images
from medimg_baseline_cls.errors import MedimgError
from medimg_baseline_cls.evaluation.prediction_files import write_predictions
from medimg_baseline_cls.schema import Predictions

ROOT = Path(__file__).resolve().parents[1]
SETS = ROOT / "docs" / "how-to" / "data-sets"
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md")))
    if "_build" not in path.parts
}
SECTIONS = {
    text.partition("\n")[0].removeprefix("# "): text
    for name, text in PAGES.items()
    if name.startswith("docs/how-to/data-sets/") and not name.endswith("/index.md")
}
# Commands that are not ours to parse: `pip` has its own tests in tests/test_packaging.py.
OTHER_WORDS = {
    *("source", "cd", "mkdir", "find", "cp"),
    *("pip", "mlflow", "tensorboard"),
    *(".venv/bin/pip", ".venv/bin/medimg"),
}
# Snippets that a test runs: those of the data sets below, and those of these pages.
OTHER_FLAGS = {
    *("resume", "seeds", "repeats", "by-site", "label-noise", "config", "print-config", "help"),
    *("explain", "reason", "accept", "shortcut", "recalibrate", "output", "help-all", "folds"),
    *("method", "map", "name", "no-panels", "preset", "quiet", "json", "time-limit"),
    *("method", "test", "val", "probability-columns", "logits", "seconds"),
    *("track", "tracking-uri", "track-names", "checkpoints"),
    *("space", "trials", "evaluate"),
    *("csv", "unused-days", "max-gb", "all", "dry-run"),
}
RUN_SNIPPETS = ("docs/reference/statistics.md",)

# Official names of each set, as relative paths, and the patient that each belongs to.
EXAMPLES = {
    r"SOB_[BM]_[A-Z]+-(\d+-\d+)": {
        "benign/SOB/adenosis/SOB_B_A_14-22549AB/40X/SOB_B_A-14-22549AB-40-001.png": "14-22549",
        "benign/SOB/adenosis/SOB_B_A_14-22549CD/400X/SOB_B_A-14-22549CD-400-007.png": "14-22549",
        "benign/SOB/phyllodes_tumor/SOB_B_PT_14-21998AB/40X/SOB_B_PT-14-21998AB-40-039.png": (
            "14-21998"
        ),
        "malignant/SOB/ductal_carcinoma/SOB_M_DC_14-2523/400X/SOB_M_DC-14-2523-400-007.png": (
            "14-2523"
        ),
        "malignant/SOB/ductal_carcinoma/SOB_M_DC_14-13412/100X/SOB_M_DC-14-13412-100-026.png": (
            "14-13412"
        ),
        "malignant/SOB/lobular_carcinoma/SOB_M_LC_14-13412/100X/SOB_M_LC-14-13412-100-026.png": (
            "14-13412"
        ),
    },
    r"^[A-Z]+-(\d+)-": {
        "train/CNV/CNV-1016042-1.jpeg": "1016042",
        "train/DRUSEN/DRUSEN-1001666-8.jpeg": "1001666",
        "test/NORMAL/NORMAL-1001666-1.jpeg": "1001666",
        "val/DME/DME-9583225-1.jpeg": "9583225",
    },
    r"^(\d{8})_": {
        "00000001_000.png": "00000001",
        "00000001_002.png": "00000001",
        "00014650_000.png": "00014650",
    },
}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def lines_of(text: str) -> list[str]:
    lines = "".join(blocks(text, "sh")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip()]


def commands(text: str) -> list[str]:
    return [line for line in lines_of(text) if line.startswith("medimg ")]


def without_environment(line: str) -> list[str]:
    """Return the words of a command after variables that are set for it, up to a redirection."""
    words = shlex.split(line.partition(" > ")[0])
    while re.match(r"[A-Z_]+=", words[0]):
        del words[0]
    return words


def parse_medimg(words: Sequence[str]) -> None:
    """Let the real parser read a command, and do nothing else.

    Raises:
        MedimgError: it refuses the command.
    """
    command, *arguments = [word for word in words if word not in ("--quiet", "--json")]
    if command in ("--help", "--version") or "--help" in arguments:
        return
    if command in OWN_FLAGS:
        read_request(arguments, command=command, summary="")
        return
    function = cli_commands.CALLED[command]

    @functools.wraps(function)
    def nothing(*_: object, **__: object) -> None:
        return None

    parse_call(nothing, arguments)


def check_command(line: str) -> None:
    """Refuse a command that cannot be what the page means."""
    first, *rest = without_environment(line)
    if first == "medimg":
        parse_medimg(rest)
    elif first == "torchrun":
        parse_medimg(rest[rest.index("medimg_baseline_cls") + 1 :])
    elif first == "sbatch":
        script = next(i for i, word in enumerate(rest) if word.endswith(".sbatch"))
        assert (ROOT / rest[script]).is_file(), line
        parse_medimg(["train", *rest[script + 1 :]])
    elif first == "make":
        dry = ["make", *rest, "--dry-run"]
        done = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    elif first in ("sudo", "python"):
        scripts = [word for word in rest if word.endswith(".py") and word != "my_study.py"]
        assert [name for name in scripts if not (ROOT / name).is_file()] == [], line
    else:
        assert first in OTHER_WORDS, f"nothing checks {line!r}"


def asked(line: str) -> Config:
    _, command, *flags = shlex.split(line)
    return read_request(flags, command=command, summary="").config


def named_columns(config: Config) -> list[str]:
    """Return every column that a command expects its table to have."""
    optional = (config.group_column, config.split_column, config.site_column)
    given = (config.path_column, *config.label_columns, *config.subgroup_columns, *optional)
    return [name for name in given if name is not None]


def write_rows(path: Path, columns: str, *rows: Sequence[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns.split(","), *rows])


def write_files(folder: Path, names: Sequence[str], content: str | None = None) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name if content is None else content, encoding="utf-8")


def run_snippet(set_name: str, number: int = 0) -> dict[str, Any]:
    names: dict[str, Any] = {}
    code = blocks(SECTIONS[set_name], "python")[number]
    exec(compile(code, f"the page of {set_name}", "exec"), names)
    return names


def read_table(set_name: str) -> pd.DataFrame:
    """Return the table that the set's command names, with the columns that it names."""
    (line,) = commands(SECTIONS[set_name])
    config = asked(line)
    assert config.manifest is not None
    table = pd.read_csv(config.manifest, dtype=str, keep_default_na=False)
    assert [name for name in named_columns(config) if name not in table] == []
    if config.class_names is not None and len(config.label_columns) == 1:
        assert set(table[config.label_columns[0]]) <= set(config.class_names)
    return table


def as_lists(table: pd.DataFrame, *columns: str) -> list[list[str]]:
    return table[list(columns)].to_numpy().tolist()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_are_twelve_sets_each_with_one_command_and_a_row_that_leads_there() -> None:
    assert len(SECTIONS) == 12
    assert {name: len(commands(text)) for name, text in SECTIONS.items()} == dict.fromkeys(
        SECTIONS, 1
    )
    index = (SETS / "index.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[[^]]+\]\(([^)]+)\)", index, flags=re.MULTILINE)
    assert sorted(rows) == sorted(path.name for path in SETS.glob("*.md") if path.stem != "index")


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if lines_of(text)])
def test_every_command_of_a_page_parses(page: str, desk: Path) -> None:
    write_files(desk / "outputs" / "runs" / "latest", ["config.json"], "{}")
    write_files(desk, ["chest_xray.yaml"], "data_dir: chest_xray\n")
    for line in lines_of(PAGES[page]):
        check_command(line)


@pytest.mark.parametrize(
    "line", ["medimg run --no-such-flag", "medimg predict", "make nothing", "curl x", "medimg fly"]
)
def test_a_wrong_command_is_noticed(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises((MedimgError, AssertionError, KeyError, SystemExit)):
        check_command(line)


def test_every_shell_block_is_marked_as_one() -> None:
    """A block without a language, or with another word for sh, would not be seen above."""
    known = {"sh", "python", "text", "toml", "yaml", "{toctree}", "{eval-rst}"}
    words = {
        name: set(re.findall(r"^```(\S[^\n]*)\n(?:.|\n)*?^```$", text, flags=re.MULTILINE)) - known
        for name, text in PAGES.items()
    }
    assert {name: found for name, found in words.items() if found} == {}
    bare = [n for n, text in PAGES.items() if re.search(r"(?:^|\n\n)```\n", text)]
    assert [name for name in bare if not name.startswith(("docs/decisions", "docs/design"))] == []


def test_settings_with_and_without_sections_mean_the_same() -> None:
    blocks = re.findall(
        r"^```yaml\n(.*?)^```$", PAGES["docs/how-to/settings-files.md"], re.M | re.S
    )
    in_sections, flat = (Config(**yaml.safe_load(block)) for block in blocks)
    assert in_sections == flat != Config()


@pytest.mark.parametrize("page", PAGES)
def test_every_flag_in_the_text_exists(page: str) -> None:
    flags = re.findall(r"`(--[a-z][^`\n]*)`", PAGES[page])
    for text in flags:
        words = shlex.split(text)
        name = words[0].removeprefix("--").partition("=")[0]
        field = name.replace("-", "_")
        if field.removeprefix("no_") not in Config.__dataclass_fields__:
            assert name in OTHER_FLAGS, text
        elif len(words) > 1 and not words[1].isupper():  # else only a name, or --data-dir DIR
            asked(f"medimg train {text}")


def test_every_pattern_has_examples() -> None:
    text = "".join(SECTIONS.values())
    patterns = re.findall(r"--group-regex\s+'([^']+)'", text)
    assert set(patterns) == set(EXAMPLES)
    assert len(patterns) == text.count("--group-regex '")


@pytest.mark.parametrize("pattern", EXAMPLES)
def test_every_pattern_finds_the_patient(pattern: str) -> None:
    examples = EXAMPLES[pattern]
    contents = {path: str(number) for number, path in enumerate(examples)}
    assert find_groups(contents, group_regex=pattern) == examples


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if blocks(text, "python")])
def test_every_snippet_compiles_and_imports_what_there_is(page: str) -> None:
    for code in blocks(PAGES[page], "python"):
        compile(code, page, "exec")
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("medimg"):
                module = importlib.import_module(node.module or "")
                assert [a.name for a in node.names if not hasattr(module, a.name)] == []


@pytest.mark.parametrize("page", RUN_SNIPPETS)
def test_snippet_runs(page: str, desk: Path) -> None:
    for code in blocks(PAGES[page], "python"):
        exec(compile(code, page, "exec"), {})


def test_links_lead_somewhere() -> None:
    broken = [
        f"{name}: {target}"
        for name, text in PAGES.items()
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", text)
        if not ((ROOT / name).parent / target).exists()
    ]
    assert broken == []


def test_ham10000_finds_each_image_in_its_folder(desk: Path) -> None:
    images = [
        "HAM10000_images_part_1/ISIC_0024306.jpg",
        "HAM10000_images_part_2/ISIC_0029306.jpg",
        "HAM10000_images_part_2/ISIC_0029307.jpg",
    ]
    write_files(desk / "HAM10000", images)
    write_rows(
        desk / "HAM10000" / "HAM10000_metadata.csv",
        "lesion_id,image_id,dx,dx_type,age,sex,localization",
        ("HAM_0000118", "ISIC_0029306", "bkl", "histo", "80.0", "male", "scalp"),
        ("HAM_0000118", "ISIC_0024306", "bkl", "histo", "80.0", "male", "scalp"),
        ("HAM_0000550", "ISIC_0029307", "nv", "follow_up", "", "female", "back"),
    )
    run_snippet("HAM10000 (ISIC)")
    table = read_table("HAM10000 (ISIC)")
    assert as_lists(table, "path", "dx", "lesion_id") == [
        [images[1], "bkl", "HAM_0000118"],
        [images[0], "bkl", "HAM_0000118"],
        [images[2], "nv", "HAM_0000550"],
    ]


@pytest.mark.parametrize("slash", ["/", "\\"])
def test_cbis_ddsm_joins_findings_of_one_mammogram(desk: Path, slash: str) -> None:
    root = desk / "CBIS-DDSM-download"
    places = {
        uid: f"./CBIS-DDSM/{view}/07-20-2016-DDSM-NA-{n}/1.000000-full mammogram images-{n}"
        for n, (uid, view) in enumerate(
            [
                ("1.3.1", "Mass-Training_P_00001_LEFT_CC"),
                ("1.3.2", "Mass-Training_P_00004_LEFT_MLO"),
                ("1.3.3", "Mass-Test_P_00016_LEFT_CC"),
            ]
        )
    }
    write_rows(
        root / "metadata.csv",
        "Series UID,Collection,Study UID,File Location",
        *[(uid, "CBIS-DDSM", "1.2", p.replace("/", slash)) for uid, p in places.items()],
    )
    columns = "patient_id,breast_density,image view,abnormality id,pathology,image file path"
    view = "Mass-Training_P_00001_LEFT_CC/1.2/1.3.1/000000.dcm"
    write_rows(
        root / "mass_case_description_train_set.csv",
        columns,
        ("P_00001", 3, "CC", 1, "MALIGNANT", view),
        ("P_00001", 3, "CC", 2, "BENIGN", f"{view}\n"),
        (
            "P_00004",
            3,
            "MLO",
            1,
            "BENIGN_WITHOUT_CALLBACK",
            "Mass-Training_P_00004_LEFT_MLO/1.2/1.3.2/000000.dcm",
        ),
    )
    write_rows(
        root / "mass_case_description_test_set.csv",
        columns,
        ("P_00016", 4, "CC", 1, "MALIGNANT", "Mass-Test_P_00016_LEFT_CC/1.2/1.3.3/000000.dcm"),
    )
    run_snippet("CBIS-DDSM")
    paths = [f"{place.removeprefix('./')}/1-1.dcm" for place in places.values()]
    assert as_lists(read_table("CBIS-DDSM"), "path", "patient_id", "split", "label") == [
        [paths[0], "P_00001", "train", "malignant"],
        [paths[1], "P_00004", "train", "benign"],
        [paths[2], "P_00016", "test", "malignant"],
    ]


def test_rsna_takes_the_patient_of_the_image_behind(desk: Path) -> None:
    write_rows(
        desk / "rsna" / "stage_2_train_labels.csv",
        "patientId,x,y,width,height,Target",
        ("00436515-870c", 264.0, 152.0, 213.0, 379.0, 1),
        ("00436515-870c", 562.0, 152.0, 256.0, 453.0, 1),
        ("0004cfab-14fd", "", "", "", "", 0),
    )
    mapping = [
        {"img_id": "00014650_000.png", "subset_img_id": "00436515-870c"},
        {"img_id": "00014650_011.png", "subset_img_id": "0004cfab-14fd"},
    ]
    name = "pneumonia-challenge-dataset-mappings_2018.json"
    (desk / "rsna" / name).write_text(json.dumps(mapping))
    run_snippet("RSNA pneumonia (2018)")
    assert as_lists(read_table("RSNA pneumonia (2018)"), "path", "patient", "Target") == [
        ["stage_2_train_images/00436515-870c.dcm", "00014650", "1"],
        ["stage_2_train_images/00436515-870c.dcm", "00014650", "1"],
        ["stage_2_train_images/0004cfab-14fd.dcm", "00014650", "0"],
    ]


def test_chestxray14_command_names_columns_of_the_official_table(desk: Path) -> None:
    columns = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
        "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
    )
    write_rows(desk / "images" / "table.csv", columns)
    read_table("ChestX-ray14")
    (line,) = commands(SECTIONS["ChestX-ray14"])
    config = asked(line)
    assert [path.name for path in config.split_files] == ["train.txt", "test.txt"]
    assert config.class_names is not None
    assert len(config.class_names) == 14


def test_chexpert_keeps_frontal_views_and_tests_on_valid(desk: Path) -> None:
    findings = (
        "No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,"
        "Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,"
        "Fracture,Support Devices"
    )
    columns = f"Path,Sex,Age,Frontal/Lateral,AP/PA,{findings}"
    root = desk / "CheXpert-v1.0-small"
    first = "CheXpert-v1.0-small/train/patient00002/study2"
    values = ["", "", "1.0", "", "", "-1.0", *[""] * 8]
    write_rows(
        root / "train.csv",
        columns,
        (f"{first}/view1_frontal.jpg", "Female", 87, "Frontal", "AP", *values),
        (f"{first}/view2_lateral.jpg", "Female", 87, "Lateral", "", *values),
    )
    valid = "CheXpert-v1.0-small/valid/patient64541/study1/view1_frontal.jpg"
    write_rows(root / "valid.csv", columns, (valid, "Male", 73, "Frontal", "AP", *["0.0"] * 14))
    run_snippet("CheXpert")
    table = read_table("CheXpert")
    assert as_lists(table, "path", "patient", "split", "Cardiomegaly", "Edema", "Atelectasis") == [
        ["train/patient00002/study2/view1_frontal.jpg", "patient00002", "train", "1.0", "-1.0", ""],
        ["valid/patient64541/study1/view1_frontal.jpg", "patient64541", "test", *["0.0"] * 3],
    ]


def test_mura_reads_the_label_from_the_study(desk: Path) -> None:
    train = "MURA-v1.1/train/XR_ELBOW/patient00011/study1_negative/image1.png"
    valid = "MURA-v1.1/valid/XR_WRIST/patient11185/study2_positive/image3.png"
    root = desk / "MURA-v1.1"
    write_files(root, ["train_image_paths.csv"], f"{train}\n")
    write_files(root, ["valid_image_paths.csv"], f"{valid}\n")
    run_snippet("MURA")
    columns = ("path", "label", "patient", "study", "region", "split")
    assert as_lists(read_table("MURA"), *columns) == [
        [
            train.removeprefix("MURA-v1.1/"),
            "negative",
            "patient00011",
            "XR_ELBOW/patient00011/study1_negative",
            "XR_ELBOW",
            "train",
        ],
        [
            valid.removeprefix("MURA-v1.1/"),
            "positive",
            "patient11185",
            "XR_WRIST/patient11185/study2_positive",
            "XR_WRIST",
            "test",
        ],
    ]


def test_mura_averages_over_each_study(desk: Path) -> None:
    studies = ["valid/XR_WRIST/patient11185/study1_positive", "valid/XR_HAND/patient1/study1_none"]
    paths = (f"{studies[0]}/image1.png", f"{studies[0]}/image2.png", f"{studies[1]}/image1.png")
    scores = np.array([0.25, 0.75, 0.125])
    folder = desk / "outputs" / "runs" / "latest"
    folder.mkdir(parents=True)
    predictions = Predictions(
        split="test",
        class_names=("negative", "positive"),
        image_ids=paths,
        paths=paths,
        groups=paths,
        labels=np.array([1, 1, 0]),
        probabilities=np.stack([1 - scores, scores], axis=1),
    )
    write_predictions(folder / "predictions_test.csv", predictions)
    assert run_snippet("MURA", 1)["probabilities"] == {studies[0]: 0.5, studies[1]: 0.125}


def test_aptos_leaves_out_copies_that_disagree(desk: Path) -> None:
    folder = desk / "aptos2019"
    write_files(folder / "train_images", ["a.png", "b.png"], "same eye, same grade")
    write_files(folder / "train_images", ["c.png", "d.png"], "same eye, two grades")
    write_files(folder / "train_images", ["e.png"])
    grades = {"a": 2, "b": 2, "c": 0, "d": 1, "e": 4}
    write_rows(folder / "train.csv", "id_code,diagnosis", *grades.items())
    run_snippet("APTOS 2019")
    assert as_lists(read_table("APTOS 2019"), "path", "diagnosis") == [
        ["train_images/a.png", "2"],
        ["train_images/e.png", "4"],
    ]


class ArrayFile(dict[str, NDArray[np.uint8]]):
    """As much of h5py.File as the snippet uses, on a NumPy archive next to the .h5 name."""

    def __init__(self, path: str) -> None:
        with np.load(f"{path}.npz") as arrays:
            super().__init__({name: arrays[name] for name in arrays.files})

    def __enter__(self) -> "ArrayFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()


def test_pcam_becomes_files_in_a_folder_per_slide(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", SimpleNamespace(File=ArrayFile))
    folder = desk / "pcam"
    pixels = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
    for name in ("train", "valid", "test"):
        stem = f"camelyonpatch_level_2_split_{name}"
        columns = ",coord_y,coord_x,tumor_patch,center_tumor_patch,wsi"
        rows = [(n, 1, 2, n == 1, n == 1, f"camelyon16_{name}_00{n}") for n in range(2)]
        write_rows(folder / f"{stem}_meta.csv", columns, *rows)
        np.savez(folder / f"{stem}_x.h5.npz", x=pixels)
        np.savez(folder / f"{stem}_y.h5.npz", y=np.array([0, 1], np.uint8).reshape(2, 1, 1, 1))
    run_snippet("PatchCamelyon")
    table = read_table("PatchCamelyon")
    splits = {"train": "train", "valid": "val", "test": "test"}
    assert as_lists(table, "path", "label", "slide", "split") == [
        [f"{name}/camelyon16_{name}_00{n}/00000{n}.png", label, f"camelyon16_{name}_00{n}", split]
        for name, split in splits.items()
        for n, label in enumerate(("normal", "tumor"))
    ]
    with Image.open(folder / table["path"][1]) as image:
        assert np.array_equal(np.asarray(image), pixels[1])


def test_busi_leaves_the_masks_out(desk: Path) -> None:
    names = ["benign (1).png", "benign (1)_mask.png", "benign (4)_mask_1.png", "benign (4).png"]
    write_files(desk / "Dataset_BUSI_with_GT" / "benign", names)
    for label in ("normal", "malignant"):
        names = [f"{label} (1).png", f"{label} (1)_mask.png"]
        write_files(desk / "Dataset_BUSI_with_GT" / label, names)
    (line,) = commands(SECTIONS["BUSI"])
    config = asked(line)
    assert config.data_dir is not None
    listing = list_images(config.data_dir, class_names=config.class_names)
    assert [(file.path, file.label) for file in listing.files] == [
        ("benign/benign (1).png", "benign"),
        ("benign/benign (4).png", "benign"),
        ("malignant/malignant (1).png", "malignant"),
        ("normal/normal (1).png", "normal"),
    ]


def test_folders_of_sites_become_a_table_with_a_column_of_sites(desk: Path) -> None:
    places = ["A/NORMAL/p1/1.png", "A/TB/2.png", "B/NORMAL/3.png"]
    write_files(desk / "hospitals", places)
    (code,) = blocks(PAGES["docs/how-to/splits.md"], "python")
    exec(compile(code, "splits.md", "exec"), {})
    table = pd.read_csv(desk / "hospitals" / "table.csv", dtype=str)
    assert as_lists(table, "path", "label", "site") == [
        [place, place.split("/")[1], place.split("/")[0]] for place in places
    ]


def test_oct2017_takes_patients_of_test_out_of_train(desk: Path) -> None:
    names = [
        "train/CNV/CNV-1016042-1.jpeg",
        "train/CNV/CNV-1016042-2.jpeg",
        "train/DRUSEN/DRUSEN-1001666-8.jpeg",
        "val/DME/DME-9583225-1.jpeg",
        "test/NORMAL/NORMAL-1001666-1.jpeg",
    ]
    write_files(desk / "OCT2017", names)
    run_snippet("OCT2017")
    assert as_lists(read_table("OCT2017"), "path", "label", "patient", "split") == [
        [names[4], "NORMAL", "1001666", "test"],
        [names[0], "CNV", "1016042", "train"],
        [names[1], "CNV", "1016042", "train"],
        [names[3], "DME", "9583225", "train"],
    ]


def test_brain_tumor_leaves_files_of_testing_out_of_training(desk: Path) -> None:
    folder = desk / "brain-tumor-mri-dataset"
    write_files(folder, ["Training/glioma/Tr-gl_0010.jpg", "Testing/pituitary/Te-pi_0021.jpg"])
    write_files(folder, ["Training/notumor/Tr-no_0010.jpg"], "the same slice")
    write_files(folder, ["Testing/notumor/Te-noTr_0000.jpg"], "the same slice")
    run_snippet("Brain tumor MRI")
    assert as_lists(read_table("Brain tumor MRI"), "path", "label", "split") == [
        ["Testing/notumor/Te-noTr_0000.jpg", "notumor", "test"],
        ["Testing/pituitary/Te-pi_0021.jpg", "pituitary", "test"],
        ["Training/glioma/Tr-gl_0010.jpg", "glioma", "train"],
    ]


def test_every_set_with_a_snippet_has_a_test_that_runs_it() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    tested = re.findall(r'run_snippet\("([^"]+)"', text)
    missing = [name for name in SECTIONS if blocks(SECTIONS[name], "python") and name not in tested]
    assert missing == []


@pytest.mark.parametrize("page", [name for name in PAGES if name.endswith("/index.md")])
def test_a_list_of_pages_can_be_followed_without_the_site(page: str) -> None:
    """A toctree has no links where the files are read as they are."""
    for block in re.findall(r"^```{toctree}\n(.*?)^```$", PAGES[page], re.MULTILINE | re.DOTALL):
        names = [line for line in block.splitlines() if line and not line.startswith(":")]
        assert ":hidden:" in block
        missing = [name for name in names if f"]({name}.md)" not in PAGES[page]]
        assert missing == []


def test_every_decision_is_in_the_list() -> None:
    found = set(re.findall(r"\]\((\d{4}-[\w-]+)\.md\)", PAGES["docs/decisions/index.md"]))
    assert found == {path.stem for path in (ROOT / "docs/decisions").glob("0*.md")}

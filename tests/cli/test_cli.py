"""The command line: each word makes one call, each mistake is one sentence and exit code 2."""

import errno
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import medimg_baseline_cls
from medimg_baseline_cls import Tracking, __version__
from medimg_baseline_cls.cli import COMMANDS, main
from medimg_baseline_cls.cli.commands import TABLE
from medimg_baseline_cls.config import (
    FIELD_GROUPS,
    FIRST_SETTINGS,
    FLAG_ALIASES,
    Config,
    field_facts,
)
from medimg_baseline_cls.errors import DataError, RunInterrupted
from medimg_baseline_cls.pipeline.steps.external_data import TableFlags

Calls = list[tuple[str, tuple[object, ...], dict[str, object]]]
Capture = pytest.CaptureFixture[str]


def configured(calls: Calls, line: str) -> Config:
    """Return the Config that `medimg train LINE` trains with."""
    assert main(["train", *shlex.split(line)]) == 0
    ((name, (config,), keywords),) = calls
    assert (name, keywords) == ("train", {"time_limit": None})
    assert isinstance(config, Config)
    return config


def complaint(capsys: Capture, line: str) -> str:
    """Return what `medimg LINE` says on stderr when it is refused."""
    assert main(shlex.split(line)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    return said.err


@pytest.mark.parametrize(
    ("line", "settings"),
    [
        ("", {}),
        ("--data-dir films --seed 4", {"data_dir": "films", "seed": 4}),
        (
            "--data films --img-size 96 --model vit",
            {"data_dir": "films", "image_size": 96, "arch": "vit"},
        ),
        ("--epochs 3 --lr 1e-5 -b 8", {"finetune_epochs": 3, "finetune_lr": 1e-5, "batch_size": 8}),
        ("-j 0", {"num_workers": 0}),
        ("--workers=2 --image_size=64", {"num_workers": 2, "image_size": 64}),
        ("--no-pretrained", {"pretrained": False}),
        ("--pretrained --keep-aspect", {"keep_aspect": True}),
        ("--keep-aspect --no-keep-aspect", {"keep_aspect": False}),
        (
            "--class-names B A --positive-class A",
            {"class_names": ("B", "A"), "positive_class": "A"},
        ),
        ("--group-regex '^(p\\d+)' --limit none", {"group_regex": r"^(p\d+)"}),
    ],
)
def test_flags_become_settings(calls: Calls, line: str, settings: dict[str, object]):
    assert configured(calls, line) == Config(**settings)  # type: ignore[arg-type]


def test_every_setting_is_a_flag(calls: Calls):
    values = {
        name: facts.choices[-1] if facts.choices else facts.example
        for name, facts in field_facts().items()
        if facts.example is not None and facts.kind not in (bool, tuple)
    }
    values.pop("target_prevalence")  # of two classes, one each
    values["imbalance"] = "class_weights"  # the focal loss is not for a head that is solved
    values["color"] = "grey"  # volumes are gray
    values["batchnorm"] = "frozen"  # parts of a batch have no statistics of their own
    values.pop("site_column"), values.pop("test_site")  # another way to choose TEST than folds
    line = " ".join(
        f"--{name.replace('_', '-')} {shlex.quote(str(v))}"
        for name, v in values.items()
        if name != "positive_class"
    )
    values.pop("positive_class")
    assert configured(calls, line) == Config(**values)


def test_defaults_give_way_to_the_file_and_the_file_to_flags(calls: Calls, tmp_path: Path):
    file = tmp_path / "s.yaml"
    file.write_text("image_size: 96\nkeep_aspect: true\nclass_names: [A, B]\nlimit: 9\n")
    line = f"--config {file} --img-size 128 --no-keep-aspect --class-names none --limit none"
    assert configured(calls, line) == Config(image_size=128)


def test_a_value_of_the_file_survives_flags_about_others(calls: Calls, tmp_path: Path):
    file = tmp_path / "s.toml"
    file.write_text('image_size = 96\nhorizontal_flip = true\nclass_names = ["A", "B"]\n')
    expected = Config(image_size=96, horizontal_flip=True, class_names=("A", "B"), seed=3)
    assert configured(calls, f"--config={file} --seed 3") == expected


@pytest.mark.parametrize(
    ("line", "call"),
    [
        (
            "evaluate latest --reason=again",
            (
                "evaluate",
                ("latest",),
                {"output_dir": Path("outputs"), "reason": "again", "accept": None},
            ),
        ),
        (
            "explain a/b --output-dir o --method layercam",
            (
                "explain",
                ("a/b",),
                {"output_dir": Path("o"), "anonymous_ids": False, "method": "layercam"},
            ),
        ),
        (
            "external r data --map 'No Finding=NORMAL' --map Mass= --name b --label-columns x y "
            "--on-bad-image skip",
            (
                "external",
                ("r", "data"),
                {
                    "name": "b",
                    "output_dir": Path("outputs"),
                    "maps": ("No Finding=NORMAL", "Mass="),
                    "panels": True,
                    "table": TableFlags(label_columns=("x", "y"), on_bad_image="skip"),
                },
            ),
        ),
        (
            "external r a b.csv --map 'No Finding=NORMAL' --no-panels",
            (
                "external_sites",
                ("r", ("a", "b.csv")),
                {
                    "output_dir": Path("outputs"),
                    "maps": ("No Finding=NORMAL",),
                    "panels": False,
                    "table": TableFlags(),
                },
            ),
        ),
        (
            "report --output_dir=o r --anonymous-ids",
            ("report", ("r",), {"output_dir": Path("o"), "anonymous_ids": True}),
        ),
        (
            "demo --seed 3 --shortcut",
            ("demo", (), {"output_dir": Path("outputs"), "seed": 3, "shortcut": True}),
        ),
        (
            "predict r a.png 'b/*.png' --explain --output p.csv --operating-point default",
            (
                "predict",
                ("r", ("a.png", "b/*.png")),
                {
                    "output": Path("p.csv"),
                    "output_dir": Path("outputs"),
                    "explain": True,
                    "operating_point": "default",
                    "recalibrate": None,
                    "on_bad_image": "error",
                    "method": "gradcam",
                },
            ),
        ),
        (
            "compare a b latest --output o",
            (
                "compare",
                (("a", "b", "latest"),),
                {"output_dir": Path("outputs"), "output": Path("o")},
            ),
        ),
        (
            "run --data d --seeds 0 1 2",
            ("run_seeds", (Config(data_dir=Path("d")), (0, 1, 2)), {}),
        ),
        ("run --resume s", ("resume_run", ("s",), {"output_dir": Path("outputs")})),
        ("run --resume", ("resume_run", (None,), {"output_dir": Path("outputs")})),
        ("run --data d", ("run", (Config(data_dir=Path("d")),), {"time_limit": None})),
        (
            "train --data d --time-limit 30",
            ("train", (Config(data_dir=Path("d")),), {"time_limit": 30.0}),
        ),
        (
            "cv --data d --folds 3 --repeats 2",
            (
                "cross_validate",
                (Config(data_dir=Path("d"), num_folds=3),),
                {"repeats": 2, "by_site": False},
            ),
        ),
        (
            "cv --by-site --site-column hospital",
            (
                "cross_validate",
                (Config(site_column="hospital"),),
                {"repeats": 1, "by_site": True},
            ),
        ),
        ("cv --resume c", ("resume_cross_validation", ("c",), {"output_dir": Path("outputs")})),
        ("cv --resume", ("resume_cross_validation", (None,), {"output_dir": Path("outputs")})),
        ("train --resume", ("resume", (None,), {"output_dir": Path("outputs")})),
        ("train --resume --output-dir o", ("resume", (None,), {"output_dir": Path("o")})),
        ("train --output-dir o --resume r", ("resume", ("r",), {"output_dir": Path("o")})),
        ("train --resume=r", ("resume", ("r",), {"output_dir": Path("outputs")})),
    ],
)
def test_each_command_is_one_call(calls: Calls, line: str, call: tuple[object, ...]):
    assert main(shlex.split(line)) == 0
    told = [flags.pop("callbacks", []) for _, _, flags in calls]
    assert calls == [call]
    # A run that was tracked is tracked again when it is resumed; which it was, its folder knows.
    assert [[type(callback) for callback in found] for found in told] == [
        [Tracking] if "--resume" in line else []
    ]


def test_resume_takes_no_other_settings(calls: Calls, capsys: Capture):
    said = complaint(capsys, "train --resume r --image-size 96 --no-pretrained")
    assert "--image-size" in said
    assert "--pretrained" in said
    assert "one run" in complaint(capsys, "train --resume a b")
    assert "no flag --resume" in complaint(capsys, "check --resume a")
    assert "leave out --seeds" in complaint(capsys, "run --resume a --seeds 0 1")
    assert calls == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train --image-siz 3", "--image-size"),
        ("train --imgsz 3", "--image-size"),
        ("train --epoch 3", "--finetune-epochs"),
        ("train --no-pretraind", "--no-pretrained"),
        ("train --confg x", "--config"),
        ("train --rsume", "--resume"),
        ("run --colour grey", "--color"),
        ("evaluate latest --outputdir x", "--output-dir"),
        ("predict r p --explian", "--explain"),
        ("demo --short-cut", "--shortcut"),
        ("train -x", "train --help"),
        ("trian", "train"),
        ("xyz", "predict"),
        ("help trian", "train"),
    ],
)
def test_an_unknown_word_or_flag_brings_the_nearest(
    calls: Calls, capsys: Capture, line: str, words: str
):
    said = complaint(capsys, line)
    assert words in said
    assert said.startswith("medimg: ")
    assert calls == []


def test_all_unknown_flags_are_reported_together(capsys: Capture):
    said = complaint(capsys, "train --imgsz 3 --seeed 4")
    assert "--image-size" in said
    assert "--seed" in said


@pytest.mark.parametrize(
    "line",
    [
        "train --image-size abc",
        "train --image-size 5000",
        "train --color gray",
        "train --image-size",
        "train films",
        "train --pretrained --weights a --no-pretrained",
        "train --config missing.yaml",
        "train --config",
        "train --repeats 2",
        "cv --repeats two",
        "cv --by-site yes",
        "cv --resume c --repeats 2",
        "cv --resume c --by-site",
        "evaluate",
        "evaluate a b",
        "demo --seed x",
    ],
)
def test_every_mistake_ends_with_code_2_and_no_traceback(calls: Calls, capsys: Capture, line: str):
    assert complaint(capsys, line).strip()
    assert calls == []


def test_mistakes_of_flags_and_file_are_told_in_the_same_words(
    calls: Calls, capsys: Capture, tmp_path: Path
):
    (tmp_path / "s.yaml").write_text("image_size: 5000\nepoch: 3\n")
    said = complaint(capsys, f"train --config {tmp_path / 's.yaml'} --head-lr 7")
    assert "image_size = 5000: expected a whole number from 32 to 1024, for example 224." in said
    assert "head_lr = 7: expected a number above 0 and at most 1, for example 0.001." in said
    assert "finetune_epochs" in said


def test_errors_of_the_pipeline_end_as_one_sentence(calls: Calls, capsys: Capture):
    calls.error = DataError("no train/ folder.")  # type: ignore[attr-defined]
    assert complaint(capsys, "train") == "medimg: no train/ folder.\n"


def test_an_interrupted_run_ends_with_130_and_the_command_that_resumes(
    calls: Calls, capsys: Capture
):
    calls.error = RunInterrupted("go on with: medimg train --resume r")  # type: ignore[attr-defined]
    assert main(["train"]) == 130
    assert "medimg train --resume r" in capsys.readouterr().err
    calls.error = KeyboardInterrupt()  # type: ignore[attr-defined]
    assert main(["evaluate", "latest"]) == 130
    assert capsys.readouterr().err == "medimg: interrupted: start the command again.\n"
    calls.error = KeyboardInterrupt("the rest is done by: medimg run --resume r")  # type: ignore[attr-defined]
    assert main(["evaluate", "latest"]) == 130
    assert capsys.readouterr().err == "medimg: the rest is done by: medimg run --resume r\n"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_signal_to_end_is_like_ctrl_c(
    calls: Calls, capsys: Capture, monkeypatch: pytest.MonkeyPatch, name: str
):
    number, ended = signal.Signals[name], []
    before = signal.signal(number, signal.SIG_DFL)

    def report(*_: object, **__: object) -> None:
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(number)  # `timeout` sends it twice
            ended.append(True)

    monkeypatch.setitem(vars(medimg_baseline_cls), "report", report)
    try:
        assert main(["report", "latest"]) == 130
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert ended and capsys.readouterr().err.startswith("medimg: interrupted: ")


def test_what_an_evaluation_left_out_of_date_is_said_with_one_command(
    calls: Calls, capsys: Capture, monkeypatch: pytest.MonkeyPatch
):
    names = ("report.html", "tables/")
    done = SimpleNamespace(run_dir=Path("run"), outdated=names)
    monkeypatch.setitem(vars(medimg_baseline_cls), "evaluate", lambda *_, **__: done)
    assert main(["evaluate", "latest"]) == 0
    said = capsys.readouterr().out
    assert "now out of date: report.html, tables/;" in said
    assert said.rstrip().endswith("medimg run --resume run") and "next:" not in said


@pytest.mark.parametrize(
    ("flag", "note"),
    [
        ("--lr 0.1", "--lr sets finetune_lr; head_lr stays 0.001"),
        ("--epochs=3", "--epochs sets finetune_epochs; head_epochs stays "),
        ("--lr 0.1 --head-lr 0.2", ""),
        ("--finetune-lr 0.1", ""),
        ("--lr 0.1 --print-config", ""),
    ],
)
def test_an_alias_that_sets_one_stage_says_so(calls: Calls, capsys: Capture, flag: str, note: str):
    assert main(["train", *shlex.split(flag)]) == 0
    said = capsys.readouterr().out
    assert (note in said) if note else (" stays " not in said)


def test_other_errors_are_ours_to_mend_and_keep_their_traceback(calls: Calls):
    calls.error = ZeroDivisionError()  # type: ignore[attr-defined]
    with pytest.raises(ZeroDivisionError):
        main(["train"])


def test_print_config_shows_sources_trains_nothing_and_can_be_fed_back(
    calls: Calls, capsys: Capture, tmp_path: Path
):
    file = tmp_path / "s.yaml"
    file.write_text("image_size: 96\nkeep_aspect: true\nbatch_size: 4\nprovenance: {a: 1}\n")
    flags = [
        "--class-names",
        "no",
        "a, b: c",
        "--no-pretrained",
        "-b",
        "8",
        "--group-regex",
        "(x#): '",
    ]
    assert main(["train", "--config", str(file), *flags, "--print-config"]) == 0
    printed = capsys.readouterr().out
    assert calls == []
    assert re.search(rf"^  image_size: 96 +# {re.escape(str(file))}$", printed, re.MULTILINE)
    assert re.search(r"^  batch_size: 8 +# flag$", printed, re.MULTILINE)
    assert re.search(r"^  pretrained: false +# flag$", printed, re.MULTILINE)
    assert re.search(r"^  seed: 0 +# default$", printed, re.MULTILINE)
    assert {s: tuple(v) for s, v in yaml.safe_load(printed).items()} == FIELD_GROUPS

    again = tmp_path / "again.yaml"
    again.write_text(printed)
    expected = Config(
        image_size=96,
        keep_aspect=True,
        class_names=("no", "a, b: c"),
        pretrained=False,
        batch_size=8,
        group_regex="(x#): '",
    )
    assert configured(calls, f"--config {again}") == expected
    assert main(["run", "--print-config", "--config", str(again)]) == 0
    assert "# default" not in capsys.readouterr().out


def test_help_shows_each_setting_with_range_default_and_aliases(calls: Calls, capsys: Capture):
    assert main(["train", "--help-all"]) == 0
    shown = capsys.readouterr().out
    flat = " ".join(re.sub(r"[│╭╮╰╯─]", " ", shown).split())
    for name, facts in field_facts().items():
        flag = name.replace("_", "-")
        assert f"--{flag} " in flat or f"--no-{flag} " in flat
        assert all(choice in flat for choice in facts.choices)
        assert all(f"also {alias}" in flat for alias in FLAG_ALIASES.get(name, ()))
    assert "in pixels (32 to 1024; default 224; also --img-size)." in flat
    assert "--resume" in shown
    assert "None" not in shown
    assert max(map(len, shown.splitlines())) <= 100
    assert len(shown.splitlines()) <= 190
    assert calls == []


def test_help_shows_the_settings_that_most_need_and_names_the_way_to_the_others(
    calls: Calls, capsys: Capture
):
    assert main(["train", "--help"]) == 0
    shown = capsys.readouterr().out
    names = [("no-" if name == "pretrained" else "") + name for name in field_facts()]
    found = [name for name in names if f"--{name.replace('_', '-')} " in shown]
    assert len(found) == len(FIRST_SETTINGS) == 15
    assert "--help-all" in shown
    assert len(shown.splitlines()) <= 70


def test_a_flag_without_a_command_names_a_command(capsys: Capture):
    assert main(["--data-dir", "x"]) == 2
    assert "medimg run --data-dir" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--gpu", "--device"),
        ("--cpu", "--device"),
        ("--early-stopping", "--patience"),
        ("--val-split", "--val-fraction"),
        ("--name", "--project"),
    ],
)
def test_flags_of_other_tools_lead_to_ours(capsys: Capture, typed: str, meant: str):
    assert main(["train", typed, "1"]) == 2
    assert f"has no flag {typed}: did you mean {meant}?" in capsys.readouterr().err


def test_help_shows_the_values_of_the_settings_file(calls: Calls, capsys: Capture, tmp_path: Path):
    (tmp_path / "my.yaml").write_text("seed: 7\nkeep_aspect: true\n")
    assert main(["run", "--config", str(tmp_path / "my.yaml"), "-h"]) == 0
    shown = capsys.readouterr().out
    assert "my.yaml 7" in shown
    assert "--no-keep-aspect" in shown
    assert "--repeats" not in shown


@pytest.mark.parametrize("word", COMMANDS)
def test_every_command_has_help_that_fits_80_columns(
    calls: Calls, capsys: Capture, monkeypatch: pytest.MonkeyPatch, word: str
):
    monkeypatch.setenv("COLUMNS", "80")
    assert main([word, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: medimg {word}")
    assert max(map(len, shown.splitlines())) <= 80
    assert "None" not in shown
    assert main(["help", word]) == 0
    assert capsys.readouterr().out == shown
    assert calls == []


def test_top_level_help_lists_every_command_and_fits_80_columns(capsys: Capture):
    assert set(COMMANDS) == set(TABLE)
    for line in (["--help"], ["-h"], ["help"]):
        assert main(line) == 0
        shown = capsys.readouterr().out
        assert all(f"\n  {word} " in shown for word in COMMANDS)
        assert max(map(len, shown.splitlines())) <= 80
    assert main([]) == 2
    assert capsys.readouterr().err == shown


def test_version_is_the_packages(capsys: Capture):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"medimg {__version__}\n"


def test_help_answers_at_once_and_loads_nothing_heavy():
    command = [sys.executable, "-X", "importtime", "-m", "medimg_baseline_cls", "--help"]
    times: list[float] = []
    for _ in range(5):
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        times.append(time.perf_counter() - start)
    heavy_ones = ("torch", "numpy", "pydantic", "tyro", "rich", "yaml", "dataclasses")
    for heavy in (*heavy_ones, "importlib.metadata"):
        assert f" {heavy}\n" not in done.stderr
    # The best of five: how fast it can be, whatever else the machine is doing.
    assert min(times) < 0.3


def test_flags_are_read_without_torch():
    code = (
        "import sys; from medimg_baseline_cls.cli import main;"
        "main(['train', '--print-config', '--seed', '3']); print('# torch', 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("# torch False\n")


def test_a_reader_that_leaves_early_causes_no_traceback():
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [sys.executable, "-m", "medimg_baseline_cls", "train", "--help"],
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write_end)
    assert done.stderr == ""
    assert done.returncode == 1


def test_the_module_and_the_command_are_the_same():
    done = subprocess.run(
        [sys.executable, "-m", "medimg_baseline_cls", "trian"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == "medimg: there is no command 'trian': did you mean train or track?\n"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full: free some space"),
        (OSError(errno.EROFS, "Read-only file system", "x/figures"), "x/figures cannot be"),
        (MemoryError(), "there is not enough memory: close other programs"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "not enough memory"),
    ],
)
def test_what_the_machine_refuses_is_one_sentence(
    calls: Calls, capsys: Capture, error: Exception, words: str
):
    calls.error = error
    said = complaint(capsys, "train --data-dir films")
    assert said.startswith("medimg: ") and words in said and said.count("\n") == 1


def test_a_mistake_of_ours_is_no_fault_of_the_machine(calls: Calls):
    calls.error = RuntimeError("a mistake of ours")
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        main(["train", "--data-dir", "films"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_settings_that_do_not_reach_a_full_disk_are_not_taken_for_written():
    command = [sys.executable, "-m", "medimg_baseline_cls", "train", "--print-config"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "medimg: a file cannot be read or written, because the disk is full: free some space\n"
    )


def test_explain_with_images_names_the_command_for_them(calls: Calls, capsys: Capture) -> None:
    said = complaint(capsys, "explain runs/x 'a b.png' c.png")
    assert said.count("\n") == 1
    assert said.endswith("medimg predict runs/x 'a b.png' c.png --explain\n")
    assert calls == []


def test_a_current_folder_that_was_removed_is_said_first_and_help_still_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    said = complaint(capsys, f"check {tmp_path} --output-dir {tmp_path}/out")
    assert said == ("medimg: the current folder no longer exists: change to one that does (cd).\n")
    assert main(["check", "--help"]) == 0 and main(["--version"]) == 0
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("flag", ["--data-dir", "--output-dir", "--cache-dir"])
def test_links_in_a_circle_are_one_sentence(tmp_path: Path, capsys: Capture, flag: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "data").mkdir()
    words = {"--data-dir": tmp_path / "data", "--output-dir": tmp_path / "out"}
    words |= {flag: tmp_path / "loop"}
    line = " ".join(f"{name} {value}" for name, value in words.items())
    for command in ("check", "train"):
        said = complaint(capsys, f"{command} {line}")
        assert said.count("\n") == 1 and "Symlink loop" not in said
        assert str(tmp_path) in said


def test_external_takes_a_name_for_one_data_set_alone(capsys: pytest.CaptureFixture[str]):
    said = complaint(capsys, "external latest a b --name site-b")
    assert "--name is that of one data set, but 2 were given: leave it out" in said
    assert "no data set was given" in complaint(capsys, "external latest")


def test_external_ends_with_3_where_the_classes_seem_to_be_inverted(
    monkeypatch: pytest.MonkeyPatch,
):
    for code in (0, 3):
        result = SimpleNamespace(status=code)
        monkeypatch.setitem(vars(medimg_baseline_cls), "external", lambda *_, r=result, **__: r)
        assert main(["external", "latest", "data", "--no-panels"]) == code


def test_an_interruption_that_python_drops_in_a_callback_stops_nevertheless(
    calls: Calls, monkeypatch: pytest.MonkeyPatch, capsys: Capture
):
    class Dropped:
        def __del__(self) -> None:
            raise KeyboardInterrupt

    def work(*_: object, **__: object) -> None:
        item = Dropped()
        del item  # Python ignores what is raised here
        for _ in range(1000):
            time.sleep(0.001)

    monkeypatch.setattr(medimg_baseline_cls, "report", work)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert main(["report", "RUN"]) == 130
    finally:
        signal.signal(signal.SIGINT, handler)
    assert "interrupted" in capsys.readouterr().err

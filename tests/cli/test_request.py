"""What was asked for: each setting has one source, and the printed settings say it again."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from medimg_baseline_cls.cli.request import Request, format_settings, read_request
from medimg_baseline_cls.config import FIELD_GROUPS, FLAG_ALIASES, Config, field_facts
from medimg_baseline_cls.errors import ConfigError


def asked(line: str, *, command: str = "train") -> Request:
    return read_request(shlex.split(line), command=command, summary="Train.")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "s.yaml"
    path.write_text("seed: 3\nimage_size: 96\nkeep_aspect: true\nprovenance: {seed: 9}\n")
    return path


def test_nothing_asked_is_the_defaults():
    request = asked("")
    assert request.config == Config()
    assert request.sources == dict.fromkeys(field_facts(), "default")
    assert (request.own.print_config, request.is_resumed, request.run) == (False, False, None)


def test_each_setting_has_the_source_that_won(file: Path):
    request = asked(f"--config {file} --img_size=128 --no-keep-aspect -b 8 --limit none")
    changed = {name: s for name, s in request.sources.items() if s != "default"}
    assert changed == {
        "seed": str(file),
        "image_size": "flag",
        "keep_aspect": "flag",
        "batch_size": "flag",
        "limit": "flag",
    }
    assert request.config == Config(seed=3, image_size=128, batch_size=8)


@pytest.mark.parametrize(
    ("flag", "name"), [(flag, name) for name, flags in FLAG_ALIASES.items() for flag in flags]
)
def test_an_alias_is_the_flag_itself(flag: str, name: str):
    value = field_facts()[name].example or "films"
    for between in (" ", "="):
        typed = asked(f"{flag}{between}{value}")
        assert typed == asked(f"--{name.replace('_', '-')} {value}")
        assert typed.sources[name] == "flag"
        assert str(getattr(typed.config, name)) == str(value)


@pytest.mark.parametrize("name", [n for n, f in field_facts().items() if f.kind is bool])
def test_every_switch_goes_on_and_off_and_the_last_word_wins(name: str):
    flag = name.replace("_", "-")
    on = f"--{flag} --augment light"
    off = f"--no-{flag} --augment light"
    for line, is_on in (
        (on, True),
        (off, False),
        (f"{off} {on}", True),
        (f"{on} {off}", False),
        (f"--augment light --{flag}=false", False),
        (f"--augment light --{flag}=true", True),
    ):
        request = asked(line)
        assert getattr(request.config, name) is is_on
        assert request.sources[name] == "flag"


def test_the_last_of_a_repeated_flag_wins():
    assert asked("--seed 1 --seed=2").config == Config(seed=2)


@pytest.mark.parametrize("command", ["train", "judge"])
def test_two_settings_files_are_refused(file: Path, command: str):
    for line in (f"--config {file} --config={file}", f"--config={file} --seed 1 --config {file}"):
        with pytest.raises(ConfigError, match=r"--config is passed 2 times, but .* one file"):
            asked(line, command=command)


def test_a_list_of_names_ends_at_the_next_flag_and_negative_numbers_are_values():
    config = asked("--class-names B A C --seed 5").config
    assert (config.class_names, config.seed) == (("B", "A", "C"), 5)
    with pytest.raises(ConfigError, match=r"^patience = -1: expected a whole number"):
        asked("--patience -1")


def test_a_mistake_in_a_switch_is_told_like_any_other():
    with pytest.raises(ConfigError, match="pretrained = maybe: expected true or false"):
        asked("--pretrained=maybe")


@pytest.mark.parametrize(
    ("line", "run"), [("--resume", None), ("--resume r", "r"), ("--resume=r --output-dir o", "r")]
)
def test_a_run_to_go_on_with_is_named_or_the_newest(line: str, run: str | None):
    request = asked(line)
    assert (request.is_resumed, request.run) == (True, run)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("--resume --seed 3", "--seed"),
        ("--resume r --no-keep-aspect", "--keep-aspect"),
        ("--resume --config FILE", "--config"),
        ("--lr 1e-3 --resume --config FILE --output-dir o", "--finetune-lr, --config"),
    ],
)
def test_what_a_resumed_run_cannot_change_is_named(file: Path, line: str, named: str):
    with pytest.raises(ConfigError) as caught:
        asked(line.replace("FILE", str(file)))
    assert str(caught.value).endswith(f"leave out {named}.")


@pytest.mark.parametrize("command", ["run", "train", "cv"])
def test_a_folder_without_its_flag_is_told_the_flag(command: str):
    with pytest.raises(ConfigError, match=r"did you mean --data-dir 'my films'\?"):
        asked("'my films' --seed 3", command=command)


def test_a_check_does_not_go_on():
    with pytest.raises(ConfigError, match="check has no flag --resume"):
        asked("--resume", command="check")


def test_seeds_are_numbers_of_run_alone():
    assert asked("--seeds 2 0 1 --image-size 64", command="run").own.seeds == (2, 0, 1)
    assert asked("--image-size 64", command="run").own.seeds == ()
    with pytest.raises(ConfigError, match="train has no flag --seeds"):
        asked("--seeds 0 1", command="train")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--no-keep-aspct", "--no-keep-aspect"),
        ("--keep-aspct", "--keep-aspect"),
        ("--no-image-size", "--image-size"),
        ("--printconfig", "--print-config"),
        ("--batch", "--batch-size"),
        ("--learning_rate", "--finetune-lr"),
    ],
)
def test_a_suggested_flag_is_one_that_would_be_taken(typed: str, meant: str):
    with pytest.raises(ConfigError, match=f"did you mean {meant}") as caught:
        asked(typed)
    assert "_" not in str(caught.value).partition(":")[2]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"class_names": ("no", "1", "a: b", "#", "Größe"), "positive_class": "1"},
        {"data_dir": "x" * 90, "group_regex": r"^('|\"|p\d+)#", "cam_layer": "~"},
        {"head_lr": 1e-5, "finetune_lr": 5e-324, "ema_decay": 0.9999, "seed": 2**32 - 1},
        {"project": "2024", "arch": "null", "limit": 1, "pretrained": False},
    ],
)
def test_printed_settings_are_the_same_settings(settings: dict[str, object]):
    config = Config(**settings)  # type: ignore[arg-type]
    sources = {name: f"source of {name}" for name in field_facts()}
    text = format_settings(config, sources)
    assert Config(**yaml.safe_load(text)) == config
    assert text.endswith("\n") and not text.endswith("\n\n")
    lines = text.splitlines()
    assert [line for line in lines if line.endswith(":")] == [f"{name}:" for name in FIELD_GROUPS]
    for name in field_facts():
        (line,) = (line for line in lines if line.startswith(f"  {name}: "))
        assert line.endswith(f"  # source of {name}")


def test_sources_of_short_lines_stand_in_one_column():
    text = format_settings(Config(), dict.fromkeys(field_facts(), "default"))
    columns = {line.index("# default") for line in text.splitlines() if "# default" in line}
    assert len(columns) == 1
    assert columns.pop() <= 42


def test_the_help_of_every_setting_is_there_word_for_word(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "100")  # one column of boxes
    with pytest.raises(SystemExit):
        asked("--help-all")
    flat = " ".join(re.sub(r"[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
    for name, facts in field_facts().items():
        text = facts.help.removesuffix(".")
        if "; --no-" in text:  # the flag is --no-..., so its help is of that side
            text = text.rpartition(": ")[2].capitalize()
        if text.endswith(")"):  # choices come before its closing words, the default after
            text, _, closing = text.removesuffix(")").rpartition(" (")
            assert closing in flat, name
        assert f"{text} (" in flat or f"{text}." in flat, name


def test_negative_switch_takes_no_value() -> None:
    with pytest.raises(ConfigError, match="--no-pretrained takes no value"):
        read_request(["--no-pretrained=false"], command="train", summary="")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--seed", "--seed needs a value after it."),
        ("--data --seed 3", "--data needs a value after it."),
        ("--image_size --no-pretrained", "--image_size needs a value after it."),
        ("--config", "--config needs a value after it."),
        ("--resume --config", "--config needs a value after it."),
        ("--seeds --data x", "--seeds needs two or more numbers after it."),
    ],
)
def test_flag_without_a_value_is_refused_in_one_sentence(line: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        asked(line, command="run")
    assert str(caught.value) == sentence

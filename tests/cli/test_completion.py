"""Completion in a real bash: what the Tab key offers."""

import shutil
import subprocess
from pathlib import Path

import pytest

from medimg_baseline_cls.cli import COMMANDS, main
from medimg_baseline_cls.config import PRESETS, Config, field_facts

NEEDED = {window: {"slices": 8} for window in ("lung", "soft_tissue", "bone")}
bash = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("completion") / "medimg"
    with pytest.MonkeyPatch.context() as patch, file.open("w") as target:
        patch.setattr("sys.stdout", target)
        assert main(["completion", "bash"]) == 0
    return file


def offered(script: Path, *words: str) -> set[str]:
    """Return what bash offers for the last word, by the function that is registered for medimg."""
    code = """
        source "$1"; shift
        function=$(complete -p medimg | sed "s/.*-F \\([^ ]*\\).*/\\1/")
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
        "$function"; [ ${#COMPREPLY[@]} -eq 0 ] || printf "<%s>\\n" "${COMPREPLY[@]}"
    """
    command = ["bash", "-c", code, "bash", str(script), "medimg", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return {line.strip("<>") for line in done.stdout.splitlines()}


@bash
def test_tab_completes_commands_flags_and_values(script: Path, tmp_path: Path):
    assert set(COMMANDS) <= offered(script, "")
    assert offered(script, "ev") == {"evaluate"}
    assert offered(script, "train", "--pre") == {"--preset", "--precision"}
    assert offered(script, "run", "--preset", "") == set(PRESETS)
    assert offered(script, "cv", "--by") == {"--by-site"}
    assert offered(script, "explain", "--anon") == {"--anonymous-ids"}
    (tmp_path / "weights.pth").touch()
    assert offered(script, "train", "--weights", f"{tmp_path}/we") == {f"{tmp_path}/weights.pth"}


@bash
def test_tab_offers_known_values_that_are_no_settings(script: Path):
    for command in ("train", "sweep", "track"):
        assert offered(script, command, "--track", "") == {"mlflow", "tensorboard"}
    assert {"list", "prune"} <= offered(script, "cache", "")
    assert offered(script, "cache", "prune", "--m") == {"--max-gb"}
    assert offered(script, "completion", "z") == {"zsh"}


@bash
@pytest.mark.parametrize("name", ["intensity", "device", "augment", "operating_point"])
def test_tab_offers_the_words_of_a_setting_that_has_other_values_too(script: Path, name: str):
    words = offered(script, "train", f"--{name.replace('_', '-')}", "")
    assert len(words) > 2
    for word in words:
        assert Config(**{"data_dir": Path("d"), name: word, **NEEDED.get(word, {})})


@bash
@pytest.mark.parametrize("name", [name for name, facts in field_facts().items() if facts.choices])
def test_tab_offers_the_choices_of_a_setting(script: Path, name: str):
    flag = f"--{name.replace('_', '-')}"
    assert offered(script, "train", flag, "") == set(field_facts()[name].choices)


@bash
@pytest.mark.parametrize("words", [("evaluate", "outputs/ru"), ("check", "chest"), ("init", "p")])
def test_paths_are_completed_where_nothing_else_fits(script: Path, words: tuple[str, ...]):
    assert offered(script, *words) == set()  # not an empty candidate: then bash looks for files
    assert "complete -o bashdefault -o default -F" in script.read_text()


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]):
    assert main(["completion", "fish"]) == 2
    assert capsys.readouterr().err == (
        "medimg: completion is written for bash and zsh, not for fish.\n"
    )

"""What is inferred is listed before training; an unknown positive class stops it."""

from dataclasses import asdict
from pathlib import Path

import pytest

from medimg_baseline_cls.config import Config
from medimg_baseline_cls.data.folders.image_files import Listing
from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.pipeline.steps.inferences import (
    find_positive_class,
    list_warnings,
    require_positive_class,
    show_inferences,
)
from medimg_baseline_cls.schema import Inference, Task
from medimg_baseline_cls.utils.log import RunLog


def listed(*names: str, task: Task = "multiclass") -> Listing:
    return Listing((), names, 0, (), task=task)


def test_a_class_that_is_set_comes_before_every_name() -> None:
    config = Config(positive_class="NORMAL")
    positive, inference = find_positive_class(config, listed("NORMAL", "TB"))
    assert positive == "NORMAL" and inference.certainty == "set"
    with pytest.raises(ConfigError, match="'NORMAL', but the classes found are A, B"):
        find_positive_class(config, listed("A", "B"))


@pytest.mark.parametrize("task", ["ordinal", "multilabel"])
def test_grades_and_findings_have_no_positive_class(task: Task) -> None:
    positive, inference = find_positive_class(Config(), listed("0", "1", task=task))
    assert positive is None
    require_positive_class(inference, ("0", "1"))


def test_an_unknown_positive_class_stops_training_with_both_commands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", ["/x/bin/medimg", "train", "--data-dir", "my data"])
    names = ("melanoma", "nevus")
    _, inference = find_positive_class(Config(), listed(*names))
    with pytest.raises(ConfigError) as caught:
        require_positive_class(inference, names)
    for name in names:
        command = f"medimg train --data-dir 'my data' --positive-class {name}"
        assert command in str(caught.value)


def test_the_block_has_a_line_for_each_and_then_the_warnings(tmp_path: Path) -> None:
    items = (
        Inference(topic="patients", found="7", reason="file names", flag="--group-regex R"),
        Inference(topic="masks", found="3", reason="", certainty="guess", warning="3 left out"),
    )
    show_inferences(RunLog(None, tmp_path / "log.txt"), items)
    assert (tmp_path / "log.txt").read_text().splitlines() == [
        "Inferred from the data",
        "patients:       7 (sure: file names; to change it: --group-regex R)",
        "masks:          3 (guess)",
        "warning: 3 left out",
    ]
    assert list_warnings(map(asdict, items)) == ["3 left out"]


def test_another_spelling_of_the_positive_class_is_taken(tmp_path: Path) -> None:
    listing = Listing((), ("melanoma", "nevus"), 0, ())
    config = Config(data_dir=tmp_path, positive_class="Melanoma")
    found, inference = find_positive_class(config, listing)
    assert (found, inference.certainty) == ("melanoma", "set")
    assert inference.reason == "--positive-class Melanoma"
    wrong = Config(data_dir=tmp_path, positive_class="Melanomma")
    with pytest.raises(ConfigError, match="did you mean --positive-class melanoma"):
        find_positive_class(wrong, listing)

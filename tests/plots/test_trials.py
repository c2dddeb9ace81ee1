"""The picture of a sweep: a panel for the values in turn, and one for each setting."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from medimg_baseline_cls.plots import trials as module
from medimg_baseline_cls.plots.trials import draw_trials

SPACE = {
    "finetune_lr": {"low": 1e-5, "high": 1e-2, "log": True},
    "augment": ["none", "light", "acquisition"],
    "frozen_stem": [True, False],
    "patience": {"low": 0, "high": 4},
}


def make_trials(values: list[float | None]) -> list[dict[str, Any]]:
    return [
        {
            "number": number,
            "value": value,
            "settings": {
                "finetune_lr": 10.0 ** -(2 + number % 3),
                "augment": SPACE["augment"][number % 3],
                "frozen_stem": number % 2 == 0,
                "patience": number % 4,
            },
        }
        for number, value in enumerate(values)
    ]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are drawn, to be looked at."""
    found: list[Figure] = []
    genuine = module.drawing

    @contextmanager
    def keeping(*arguments: Any, **keywords: Any) -> Iterator[Figure]:
        with genuine(*arguments, **keywords) as figure:
            found.append(figure)
            yield figure

    monkeypatch.setattr(module, "drawing", keeping)
    return found


def test_each_complete_trial_is_a_dot_in_every_panel(figures: list, tmp_path: Path) -> None:
    trials = make_trials([0.6, None, 0.8, 0.7])
    draw_trials(trials, tmp_path / "trials.png", space=SPACE, objective="AP on VAL")
    assert (tmp_path / "trials.png").stat().st_size > 1000
    panels = [axes for axes in figures[0].axes if axes.get_visible()]
    assert [axes.get_xlabel() for axes in panels] == ["trial", *SPACE]
    for axes in panels:
        assert list(axes.get_lines()[0].get_ydata()) == [0.6, 0.8, 0.7]
    assert list(panels[0].get_lines()[1].get_ydata()) == [0.6, 0.8, 0.8]


def test_axes_are_those_of_the_space(figures: list, tmp_path: Path) -> None:
    draw_trials(make_trials([0.6, 0.7]), tmp_path / "a.png", space=SPACE, objective="AP on VAL")
    _, rate, augment, stem, patience, *_ = figures[0].axes
    assert (rate.get_xscale(), patience.get_xscale()) == ("log", "linear")
    assert [tick.get_text() for tick in augment.get_xticklabels()] == SPACE["augment"]
    assert [tick.get_text() for tick in stem.get_xticklabels()] == ["True", "False"]
    assert list(stem.get_lines()[0].get_xdata()) == [0, 1]
    texts = [tick.get_text() for tick in rate.get_xticklabels()]
    assert "0.001" in texts and not any("$" in text for text in texts)

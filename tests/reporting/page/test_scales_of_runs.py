"""Dots of runs and differences are where their values are, and differing settings are all found."""

from collections import Counter
from itertools import pairwise

import pytest

from medimg_baseline_cls.records.estimates import Estimate, Interval, PairedDifference
from medimg_baseline_cls.reporting.joint_results import MemberRun, list_warnings
from medimg_baseline_cls.reporting.page.metric_scales import (
    Statistic,
    draw_differences,
    draw_scales,
)
from medimg_baseline_cls.reporting.page.run_settings import keep_common, tabulate_differences


def make_statistic(mean: float | None, values: tuple[float, ...] = ()) -> Statistic:
    named = tuple((f"run {number}", value) for number, value in enumerate(values))
    return Statistic(label="AUROC", text="", detail="", estimate=Estimate(value=mean), values=named)


def make_difference(value: float | None, bounds: tuple[float, float] | None = None) -> Statistic:
    interval = None if bounds is None else Interval(bounds=bounds, method="bootstrap")
    gap = PairedDifference(value=value, interval=interval)
    return Statistic(label="AUROC", text="", detail="", estimate=gap)


def test_each_run_has_a_dot_where_its_value_is() -> None:
    (drawn,) = draw_scales([make_statistic(0.7, (0.9, 0.6, 0.75))])
    assert drawn.scale is not None
    places = {dot.text: dot.position for dot in drawn.scale.dots}
    assert places == {"run 0": 80.0, "run 1": 20.0, "run 2": 50.0}
    assert {dot.level for dot in drawn.scale.dots} == {0}
    assert drawn.scale.point == 40.0
    assert drawn.scale.span == "from 0.5 to 1"


def test_one_low_run_makes_every_scale_begin_at_zero() -> None:
    scales = [s.scale for s in draw_scales([make_statistic(0.9, (0.4, 1.0)), make_statistic(0.8)])]
    assert [scale.span for scale in scales if scale] == ["from 0 to 1"] * 2


@pytest.mark.parametrize(("count", "highest"), [(1, 0), (3, 2), (6, 5), (9, 5)])
def test_runs_of_one_value_are_stacked_up_to_a_limit(count: int, highest: int) -> None:
    (drawn, other) = draw_scales([make_statistic(0.9, (0.9,) * count), make_statistic(0.7, (0.7,))])
    assert drawn.scale is not None and other.scale is not None
    levels = Counter(dot.level for dot in drawn.scale.dots)
    assert set(levels) == set(range(highest + 1))
    assert sum(levels.values()) == count
    # The words under all scales of a page are in one line.
    assert drawn.scale.height == other.scale.height == highest


def test_dots_of_one_level_do_not_hide_each_other() -> None:
    values = tuple(0.5 + 0.004 * number for number in range(40))
    (drawn,) = draw_scales([make_statistic(0.6, values)])
    assert drawn.scale is not None and len(drawn.scale.dots) == len(values)
    for level in range(drawn.scale.height):  # the highest level takes what is left
        places = sorted(dot.position for dot in drawn.scale.dots if dot.level == level)
        assert all(b - a >= 3.5 for a, b in pairwise(places))


@pytest.mark.parametrize(
    ("bounds", "end"), [((-0.004, 0.01), 0.01), ((-0.011, 0.0), 0.02), ((-0.3, 0.51), 1.0)]
)
def test_zero_is_in_the_middle_of_a_difference(bounds: tuple[float, float], end: float) -> None:
    nothing, drawn = draw_differences([make_difference(None), make_difference(0.0, bounds)])
    assert nothing.scale is None
    assert drawn.scale is not None and drawn.scale.interval is not None
    assert (drawn.scale.floor, drawn.scale.point) == (50.0, 50.0)
    assert drawn.scale.interval == pytest.approx([50 * (1 + b / end) for b in bounds], abs=0.01)
    assert [tick.text for tick in drawn.scale.ticks] == [f"−{end:g}", "0", f"+{end:g}"]


def make_member(title: str, *, warnings: tuple[str, ...] = (), **settings: object) -> MemberRun:
    environment = {"gpu": None, "created": title} if settings else {}
    return MemberRun(title=title, settings=settings, environment=environment, warnings=warnings)


def test_settings_are_either_common_or_differ() -> None:
    first = make_member("a", project="a", lr=0.1, seed=0, provenance={"task": "x"})
    second = make_member("b", project="b", lr=0.2, seed=0, provenance={"task": "y"}, new=True)
    (table,) = tabulate_differences([first, make_member("gone"), second])
    assert table.header == ("Name", "a", "b")
    cells = {row.cells for row in table.rows}
    assert cells == {("lr", "0.1", "0.2"), ("provenance.task", "x", "y"), ("new", "–", "yes")}
    assert keep_common([first.settings, second.settings]) == {"": {"seed": "0"}}
    assert keep_common([]) == {}


def test_a_warning_of_several_runs_is_said_once() -> None:
    runs = [
        make_member("Fold 0", warnings=("few images.", "weak.")),
        make_member("Fold 1", warnings=("few images.",)),
        make_member("Fold 2", warnings=("few images.", "weak.")),
    ]
    assert list(list_warnings(runs)) == ["All runs: few images.", "Fold 0, Fold 2: weak."]

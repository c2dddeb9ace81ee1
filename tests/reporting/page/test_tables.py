"""Tables of data and training, against counts made by hand."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from medimg_baseline_cls.reporting.content import read_run
from medimg_baseline_cls.reporting.documents.sentences import describe_data
from medimg_baseline_cls.reporting.page.report_page import write_report
from medimg_baseline_cls.reporting.page.tables import (
    MAX_REJECTED,
    Table,
    tabulate_gain,
    tabulate_rejected,
    tabulate_split,
    tabulate_stages,
)

MULTI = ("COVID", "NORMAL", "PNEUMONIA")


def cells(table: Table | None) -> list[dict[str, str]]:
    assert table is not None
    return [dict(zip(table.header, row.cells, strict=True)) for row in table.rows]


def test_split_table_counts_images_groups_and_prevalence(make_run: Callable[..., Any]) -> None:
    run = make_run()
    rows = cells(tabulate_split(read_run(run.folder)))
    assert [r["Split"] for r in rows] == ["TRAIN", "VAL", "TEST", "All"]
    for row, split in zip(rows, ("train", "val", "test"), strict=False):
        labels = run.labels[split]
        assert row["Images"] == str(len(labels))
        assert row["Patients"] == str(len(labels) // 2)
        assert row["NORMAL"] == str((labels == 0).sum())
        assert row["PNEUMONIA"] == str((labels == 1).sum())
        assert row["Prevalence"].replace("\xa0", " ") == f"{100 * labels.mean():.1f} %"
    assert rows[-1]["Images"] == "132"


def test_images_of_unknown_patients_are_not_called_patients(make_run: Callable[..., Any]) -> None:
    content = read_run(make_run().folder)
    alone = replace(content, split=[row | {"group": row["path"]} for row in content.split])
    assert (content.unit, alone.unit) == ("patient", "group")
    assert cells(tabulate_split(alone))[0]["Groups"] == cells(tabulate_split(alone))[0]["Images"]
    assert "of 66 patients" in describe_data(content)
    assert "patients" not in describe_data(alone)
    said = {"topic": "patients", "found": "not known: each image on its own"}
    hidden = replace(content, config={"provenance": {"inferences": [said]}})
    assert hidden.unit == "group"


def test_cells_of_a_wide_table_name_their_column_for_narrow_screens(
    make_run: Callable[..., Any],
) -> None:
    run = make_run()
    page = write_report(run.folder).read_text(encoding="utf-8")
    table = page.split('class="table stacked dense"', 1)[1].split("</table>", 1)[0]
    names = re.findall(r'<th scope="col"[^>]*><bdi>(.*?)</bdi>', table)
    row = table.split("<tbody>", 1)[1].split("</tr>", 1)[0]
    assert re.findall(r'data-column="(.*?)"', row) == names[1:]
    assert len(names) > 11


def test_split_table_of_many_classes_shows_each_share(make_run: Callable[..., Any]) -> None:
    run = make_run(MULTI)
    row = cells(tabulate_split(read_run(run.folder)))[2]
    counts = np.bincount(run.labels["test"])
    assert [row[name].replace("\xa0", " ") for name in MULTI] == [
        f"{n} ({100 * n / 48:.1f} %)" for n in counts
    ]
    assert "Prevalence" not in row


def test_empty_split_has_no_prevalence(make_run: Callable[..., Any]) -> None:
    run = make_run(stages=("data",))
    path = run.folder / "split.csv"
    lines = [x for x in path.read_text(encoding="utf-8").splitlines() if ",val," not in x]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    row = cells(tabulate_split(read_run(run.folder)))[1]
    assert (row["Images"], row["Prevalence"]) == ("0", "–")


def test_rejected_files_are_listed_and_a_long_list_is_cut(make_run: Callable[..., Any]) -> None:
    run = make_run()
    assert cells(tabulate_rejected(read_run(run.folder))) == [
        {"File": "train/NORMAL/broken.png", "Reason": "…/broken.png is cut off"}
    ]
    many = [(f"{i}.png", "cut off") for i in range(MAX_REJECTED + 7)]
    run.write_csv("rejected.csv", ("path", "reason"), many)
    table = tabulate_rejected(read_run(run.folder))
    assert table is not None
    assert len(table.rows) == MAX_REJECTED
    assert table.notes == ("7 more are in rejected.csv.",)
    run.write_csv("rejected.csv", ("path", "reason"), [])
    assert tabulate_rejected(read_run(run.folder)) is None


def test_best_epoch_is_that_of_highest_ap_then_lowest_loss(make_run: Callable[..., Any]) -> None:
    run = make_run()
    rows = cells(tabulate_stages(read_run(run.folder)))
    assert [(r["Stage"], r["Epochs"], r["Best"]) for r in rows] == [
        ("Head only", "2", "2"),
        ("Fine-tuning", "3", "2 ✓"),
    ]
    assert rows[1]["VAL AP"] == "0.967"
    assert rows[1]["Time"].replace("\xa0", " ") == "3 min 4 s"
    header = ("stage", "epoch", "lr", "train_loss", "val_loss", "val_ap", "val_auroc")
    tie = [("head", e, 1e-3, 0.5, loss, 0.9, 0.9) for e, loss in ((1, 0.4), (2, 0.3), (3, 0.35))]
    run.write_csv("history.csv", header, tie)
    assert cells(tabulate_stages(read_run(run.folder)))[0]["Best"] == "2"


def test_epoch_without_ap_is_never_the_best(make_run: Callable[..., Any]) -> None:
    run = make_run()
    header = ("stage", "epoch", "lr", "train_loss", "val_loss", "val_ap", "val_auroc")
    run.write_csv(
        "history.csv", header, [("head", 1, 1, 0.5, "", "", ""), ("head", 2, 1, 0.4, 0.9, 0.1, "")]
    )
    row = cells(tabulate_stages(read_run(run.folder)))[0]
    assert (row["Best"], row["VAL AP"], row["VAL AUROC"]) == ("2", "0.100", "–")


@pytest.mark.parametrize("class_names", [("NORMAL", "PNEUMONIA"), MULTI], ids=["two", "three"])
def test_gain_is_final_minus_head_only(
    make_run: Callable[..., Any], class_names: tuple[str, ...]
) -> None:
    run = make_run(class_names)
    evaluation = run.json("eval_summary.json")
    rows = cells(tabulate_gain(read_run(run.folder)))
    assert [(r["Split"], r["Metric"]) for r in rows] == [
        *(("VAL", "AUROC"), ("VAL", "AP"), ("TEST", "AUROC"), ("TEST", "AP"))
    ]
    final = evaluation["headline"]["test"]["auroc"]["value"]
    before = evaluation["head_only"]["test"]["auroc"]
    assert rows[2]["Difference"] == f"{final - before:+.3f}".replace("-", "−")


@pytest.mark.parametrize("head_only", [None, {}, {"val": None}])
def test_no_gain_table_without_a_head_only_model(
    make_run: Callable[..., Any], head_only: Any
) -> None:
    run = make_run()
    run.write_json("eval_summary.json", run.json("eval_summary.json") | {"head_only": head_only})
    assert tabulate_gain(read_run(run.folder)) is None


def test_no_gain_table_where_nothing_was_fine_tuned(make_run: Callable[..., Any]) -> None:
    run = make_run()
    run.write_json("config.json", run.json("config.json") | {"finetune_epochs": 0})
    assert tabulate_gain(read_run(run.folder)) is None

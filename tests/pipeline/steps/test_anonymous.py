"""A report and tables to share name no file and no patient; the private table says who is who."""

import csv
import html
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from medimg_baseline_cls import predict, report
from medimg_baseline_cls.cli import main
from medimg_baseline_cls.utils.pseudonyms import KEY_VARIABLE


@pytest.fixture
def copy(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(KEY_VARIABLE, "a secret of the tests")
    return shutil.copytree(finished_run, tmp_path / "runs" / "copy")


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def names_of(run_dir: Path) -> Iterator[str]:
    """Yield every text by which an image or a patient could be found again."""
    for row in read_rows(run_dir / "split.csv"):
        yield from (row["image_id"], row["path"], row["group"])
        yield from (Path(row["path"]).name, Path(row["path"]).stem)


def test_the_page_names_no_image_and_no_patient(copy: Path) -> None:
    page = Path(report(copy).summary["report"]).read_text(encoding="utf-8")
    assert any(name in page for name in names_of(copy))  # as it is without the flag
    assert main(["explain", str(copy), "--anonymous-ids"]) == 0
    assert main(["report", str(copy), "--anonymous-ids"]) == 0
    page = html.unescape((copy / "report.html").read_text(encoding="utf-8"))
    assert page.count("Grad-CAM panel of image-") > 0
    page = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page)
    assert [name for name in set(names_of(copy)) if name in page] == []
    panels = [path.name for path in (copy / "gradcam").rglob("*.png")]
    assert [n for n in set(names_of(copy)) if any(n in panel for panel in panels)] == []


def test_nothing_else_that_the_report_writes_names_them(copy: Path) -> None:
    known = {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()}
    report(copy, anonymous_ids=True)
    names = set(names_of(copy))
    written = [
        path
        for path in copy.rglob("*")
        if path.is_file() and known.get(path) != path.stat().st_mtime_ns
        if path.suffix != ".png" and path.name not in ("pseudonyms_PRIVATE.csv", "log.txt")
    ]
    assert {"report.html", "predictions_test.csv"} <= {path.name for path in written}
    for path in written:
        text = html.unescape(path.read_text(encoding="utf-8"))
        text = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", text)
        assert [name for name in names if name in text] == [], path


def test_panels_that_show_file_names_are_left_out(copy: Path) -> None:
    page = Path(report(copy, anonymous_ids=True).summary["report"]).read_text(encoding="utf-8")
    assert "Grad-CAM panel of" not in page
    assert "medimg explain --anonymous-ids" in page


def test_tables_to_share_differ_in_names_alone(copy: Path) -> None:
    report(copy, anonymous_ids=True)
    private = read_rows(copy / "pseudonyms_PRIVATE.csv")
    image_of = {row["pseudonym"]: row["image_id"] for row in private}
    group_of = {row["group_pseudonym"]: row["group"] for row in private}
    assert len(image_of) == len(private) == len(read_rows(copy / "split.csv"))
    for name in ("predictions_val.csv", "predictions_test.csv", "mistakes.csv", "dossier.csv"):
        text = (copy / "anonymous" / name).read_text(encoding="utf-8")
        assert [word for word in set(names_of(copy)) if word in text] == []
        restored = [
            {
                column: image_of.get(cell, cell) if column != "group" else group_of.get(cell, cell)
                for column, cell in row.items()
            }
            for row in read_rows(copy / "anonymous" / name)
        ]
        assert restored == read_rows(copy / name)


def test_another_key_gives_other_pseudonyms(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pseudonyms() -> set[str]:
        report(copy, anonymous_ids=True)
        return {row["pseudonym"] for row in read_rows(copy / "pseudonyms_PRIVATE.csv")}

    first = pseudonyms()
    assert pseudonyms() == first
    monkeypatch.setenv(KEY_VARIABLE, "another secret")
    assert pseudonyms().isdisjoint(first)


def test_the_setting_of_the_run_does_what_the_flag_does(copy: Path) -> None:
    path = copy / "config.json"
    path.write_text(path.read_text().replace('"anonymous_ids": false', '"anonymous_ids": true'))
    page = Path(report(copy).summary["report"]).read_text(encoding="utf-8")
    assert "image-" in page
    assert [n for n in set(names_of(copy)) if n in html.unescape(page)] == []


def test_a_flag_given_once_says_where_names_stay_real(copy: Path) -> None:
    report(copy, anonymous_ids=True)
    said = (copy / "log.txt").read_text(encoding="utf-8")
    assert said.count("panels in gradcam/ show real names unless") == 1
    report(copy)
    assert (copy / "log.txt").read_text(encoding="utf-8").count("real names") == 1


def test_odd_words_of_a_reader_are_told_with_the_known_ones(copy: Path) -> None:
    path = copy / "dossier.csv"
    rows = read_rows(path)
    rows[0]["reader"] = "rubbish"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    report(copy)
    said = (copy / "log.txt").read_text(encoding="utf-8")
    assert "'rubbish' in the column reader is none of label wrong, poor image, real miss" in said


def test_a_prediction_of_an_anonymous_run_shows_the_pseudonyms_of_its_report(
    copy: Path, phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / "config.json"
    path.write_text(path.read_text().replace('"anonymous_ids": false', '"anonymous_ids": true'))
    report(copy)
    logged = len((copy / "log.txt").read_text(encoding="utf-8"))  # other tests predict, too
    own = sorted((phantoms / "test" / "NORMAL").glob("*.png"))[0]
    other = Path(shutil.copy(own, tmp_path / "DOE_JANE.png"))
    capsys.readouterr()
    predict(copy, [own, other], output=tmp_path / "new.csv", explain=True)
    private = read_rows(copy / "pseudonyms_PRIVATE.csv")
    pseudonym = {row["image_id"]: row["pseudonym"] for row in private}[f"test/NORMAL/{own.name}"]
    rows = read_rows(tmp_path / "new.csv")
    assert [row["path"] for row in rows] == [str(own), str(other)]
    assert rows[0]["pseudonym"] == pseudonym != rows[1]["pseudonym"]
    panels = sorted(panel.name for panel in (tmp_path / "new").rglob("*.png"))
    assert [panel.split("_")[-1] for panel in panels] == [f"{r['pseudonym']}.png" for r in rows]
    said = capsys.readouterr().out + (copy / "log.txt").read_text(encoding="utf-8")[logged:]
    assert pseudonym in said
    assert not {"DOE_JANE", own.stem} & set(re.findall(r"[\w-]+", said))
    for file in (tmp_path / "new.csv", copy / "pseudonyms_PRIVATE.csv"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600

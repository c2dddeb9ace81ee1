"""The page of several sites: every number in it, TEST apart, and what is left out by name."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.records.site_samples import AUROCS, estimate_of, site_of, summary_of
from tests.reporting.page.test_joint_page import check_refers_to_nothing_else, words_of
from tests.reporting.page.test_report_page import HOSTILE, Reader

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.pipeline.commands.report import report
from medimg_baseline_cls.plots.forest import draw_forest
from medimg_baseline_cls.records.estimates import Estimate
from medimg_baseline_cls.records.sites import Site, SitesSummary, list_pooled
from medimg_baseline_cls.records.summaries import MetricKey
from medimg_baseline_cls.reporting.joint_results import read_sites
from medimg_baseline_cls.reporting.page.joint_page import write_joint_page
from medimg_baseline_cls.reporting.page.sites_page import describe_sites
from medimg_baseline_cls.reporting.text.format import format_interval, format_score

AUROC = MetricKey("PNEUMONIA", None, "auroc")
PREDICTIONS = b"some predictions"


def write_sites(outputs: Path, summary: SitesSummary, *, places: Sequence[str] = ()) -> Path:
    """Write a run with results on its sites, those in `places`, and their comparison."""
    run = outputs / "runs" / summary.run
    folder = run / "external" / "sites"
    folder.mkdir(parents=True)
    for name in ("test_summary.json", "report.html"):
        (run / name).write_text("{}", encoding="utf-8")
    digest = hashlib.sha256(PREDICTIONS).hexdigest()
    for name in places:
        (folder.parent / name).mkdir()
        (folder.parent / name / "predictions_test.csv").write_bytes(PREDICTIONS)
        (folder.parent / name / "report.html").write_text("a report", encoding="utf-8")
    sites = tuple(replace(site, predictions_sha256=digest) for site in summary.sites)
    content = replace(summary, sites=sites).to_json()
    (folder / "sites.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def text_of(page: str) -> str:
    """Return the text of a page, second lines of cells set apart."""
    return words_of(page.replace("<small>", " <small>"))


def show(tmp_path: Path, summary: SitesSummary) -> str:
    folder = write_sites(tmp_path, summary, places=[site.name for site in summary.external])
    return text_of(write_joint_page(folder, "sites").read_text(encoding="utf-8"))


def test_each_site_is_a_row_with_a_link_and_test_of_the_run_is_the_first(tmp_path: Path) -> None:
    summary = summary_of()
    folder = write_sites(tmp_path, summary, places=("north", "south", "east"))
    page = write_joint_page(folder, "sites").read_text(encoding="utf-8")
    links = check_refers_to_nothing_else(page, folder)
    assert links == [
        "../../report.html", *(f"../{name}/report.html" for name in ("north", "south", "east")),
    ]  # fmt: skip
    text = text_of(page)
    assert "External validation 3 sites" in text
    assert "chest_run, trained to distinguish PNEUMONIA from NORMAL: scored as it is on 3 " in text
    assert "360 images of 240 patients; nothing was fitted or chosen on them" in text
    assert "TEST of the run not pooled 120 80 0.375 0.977 0.967–0.987 0.710" in text
    assert "north 120 80 0.375 0.912 0.872–0.952 0.710 0.670–0.750 0.862" in text
    assert text.index("TEST of the run") < text.index("north 120") < text.index("south 120")
    assert "−1.230" in text and "0.640" in text  # calibration
    assert "Warning" not in text and "Settings" not in text


def test_pooled_numbers_are_those_of_the_file(tmp_path: Path) -> None:
    summary = summary_of()
    text = show(tmp_path, summary)
    for key in list_pooled("PNEUMONIA", "max_f1"):
        found = summary.pooled[key]
        mean, prediction = format_score(found.value), format_interval(found.prediction)
        tau, share = format_score(found.between_deviation), found.share_between or 0.0
        interval = format_interval(found.bounds)
        assert f"{mean} {interval} {prediction} {tau} {100 * share:.0f} %" in text
        # From 0.00 to 1.00 it says nothing of the next site.
        assert found.prediction is not None
        is_useless = found.prediction[1] - found.prediction[0] > 0.9
        said = "too few sites to predict the next one" if is_useless else None
        said = said or f"prediction interval {prediction}"
        assert f"95 % CI {interval}; {said}; 3 sites" in text
    assert "Debray et al., BMJ 2017" in text
    assert "the wider of that of Hartung and Knapp and that of the normal" in text


def test_sites_are_dots_on_the_scale_of_the_mean(tmp_path: Path) -> None:
    folder = write_sites(tmp_path, summary_of())
    page = write_joint_page(folder, "sites").read_text(encoding="utf-8")
    assert page.count('<circle class="run"') == 3 * 3
    for name in ("north", "south", "east"):
        assert f"<title>{name}: {AUROCS[name]}</title>" in page
    assert "<title>chest_run" not in page


def test_two_sites_have_no_mean_and_the_reason(tmp_path: Path) -> None:
    text = show(tmp_path, summary_of([site_of(name) for name in ("chest_run", "north", "south")]))
    assert "AUROC: no mean, because 2 of 2 sites can be pooled; 3 are needed." in text
    assert "prediction interval 0" not in text
    assert "Sensitivity at Max-F1 2 – – – –" in text


def test_a_site_that_is_left_out_is_named_with_the_reason(tmp_path: Path) -> None:
    odd, perfect = site_of("west"), site_of("up")
    undefined = Estimate(value=None, reason="all images are of one class")
    sites = [
        *(site_of(name) for name in AUROCS),
        replace(odd, estimates={**odd.estimates, AUROC: undefined}),
        replace(perfect, estimates={**perfect.estimates, AUROC: estimate_of(1.0, half=0.0)}),
    ]
    text = show(tmp_path, summary_of(sites))
    assert "AUROC, west left out: undefined: all images are of one class." in text
    assert "AUROC, up left out: its interval touches 1, where the logit is infinite." in text
    assert "west, auroc: all images are of one class." in text
    assert "AUROC 3 " in text and "Sensitivity at Max-F1 5 " in text


def test_what_is_left_out_begins_with_a_capital_or_the_name_of_its_class(tmp_path: Path) -> None:
    names = ("effusion", "mass")
    key = MetricKey("effusion", "max_f1", "sensitivity")
    for number, classes in enumerate((names, names[:1])):
        sites = [site_of(name, classes) for name in AUROCS]
        estimates = {**sites[-1].estimates, key: estimate_of(1.0, half=0.0)}
        sites[-1] = replace(sites[-1], estimates=estimates)
        text = show(tmp_path / str(number), summary_of(sites, classes=classes))
        lead = "effusion: " if len(classes) > 1 else ""
        assert f".{lead}Sensitivity at Max-F1, east left out: its interval touches 1" in text


def test_alarms_and_warnings_are_at_the_top(tmp_path: Path) -> None:
    alarm = "the AUROC of PNEUMONIA is 0.100, below chance"
    sites = [replace(site_of(n), alarms=(alarm,) * (n == "south")) for n in AUROCS]
    summary = replace(summary_of(sites), warnings=("north and east have 2 files in common",))
    text = show(tmp_path, summary)
    assert "Warnings" in text
    assert f"south: {alarm}" in text
    assert "north and east have 2 files in common" in text
    assert text.index(alarm) < text.index("TEST of the run not pooled")


def test_results_that_are_gone_or_were_written_again_are_named(tmp_path: Path) -> None:
    folder = write_sites(tmp_path, summary_of(), places=("north", "south"))
    (folder.parent / "south" / "predictions_test.csv").write_bytes(b"others")
    told: list[str] = []
    page = write_joint_page(folder, "sites", warn=told.append).read_text(encoding="utf-8")
    assert told == [
        "south was scored again since: this page shows its earlier results.",
        "east: the folder with its results is not there.",
    ]
    text = text_of(page)
    assert all(warning in text for warning in told)
    assert "east 120 80 0.375 0.871" in text
    assert "../east/report.html" not in page


def test_results_in_the_output_folder_are_found_by_the_name_of_the_run(tmp_path: Path) -> None:
    inside = write_sites(tmp_path, summary_of(), places=("north",))
    outside = tmp_path / "external"
    outside.mkdir()
    for name in ("north", "sites"):
        (inside.parent / name).rename(outside / f"chest_run-{name}")
    content = read_sites(outside / "chest_run-sites")
    assert content.links == {"north": "../chest_run-north/report.html", "south": "", "east": ""}
    assert content.run_link == ""


def test_findings_have_a_table_each_and_the_first_is_open(tmp_path: Path) -> None:
    folder = write_sites(tmp_path, summary_of(classes=("Effusion", "Mass", "Nodule")))
    page = write_joint_page(folder, "sites").read_text(encoding="utf-8")
    for number, name in enumerate(("Effusion", "Mass", "Nodule")):
        assert f"<summary>{name} positive, operating point Max-F1</summary>" in page
        assert f"{name}: AUROC" in page, number
    assert page.count('<details class="fold" open>') == 1
    assert "Class Metric Sites Mean Prediction interval tau I²" in words_of(page)


def test_the_figure_is_in_the_page(tmp_path: Path) -> None:
    summary = summary_of()
    folder = write_sites(tmp_path, summary)
    assert describe_sites(read_sites(folder))["figures"] == []
    draw_forest(summary, folder / "forest.png")
    text = text_of(write_joint_page(folder, "sites").read_text(encoding="utf-8"))
    assert "Forest plot Each site with its 95 % interval; TEST of the run is not pooled." in text


def test_the_report_command_writes_the_same_page_again(tmp_path: Path) -> None:
    folder = write_sites(tmp_path, summary_of(), places=("north", "south", "east"))
    first = write_joint_page(folder, "sites").read_bytes()
    (folder / "report.html").unlink()
    assert report(folder).run_dir == folder
    assert (folder / "report.html").read_bytes() == first


@pytest.mark.parametrize("change", [{"sites": 3}, {"pooled": None}, {"classes": ["Mass"]}])
def test_a_changed_file_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    folder = write_sites(tmp_path, summary_of())
    path = folder / "sites.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | change), encoding="utf-8")
    with pytest.raises(RunError, match=r"sites\.json is not as it was written: restore it"):
        write_joint_page(folder, "sites")
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_becomes_markup(tmp_path: Path, name: str) -> None:
    sites: list[Site] = [replace(site_of(n, ("A", name)), alarms=(name,)) for n in AUROCS]
    summary = replace(summary_of(sites, classes=("A", name)), warnings=(name,))
    folder = write_sites(tmp_path, summary)
    page = write_joint_page(folder, "sites").read_text(encoding="utf-8")
    reader = Reader(page)
    assert reader.open == []
    assert not any(tag in {"script", "iframe", "object", "base"} for tag, _ in reader.tags)
    assert not any(key.startswith("on") for _, attributes in reader.tags for key in attributes)
    assert "\x00" not in page and "\u202e" not in page

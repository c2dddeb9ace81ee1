"""The page as a whole: self-contained, whole with half a run, safe, the same each time."""

import base64
import hashlib
import html
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.reporting.content import read_run
from medimg_baseline_cls.reporting.documents.sentences import describe_performance
from medimg_baseline_cls.reporting.page.report_page import write_report
from medimg_baseline_cls.reporting.page.template import read_resource
from medimg_baseline_cls.utils.files import read_csv

MULTI = ("COVID", "NORMAL", "PNEUMONIA")
HOSTILE = (
    "<script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    "javascript:alert(1)",
    "--><script>alert(1)</script><!--",
    "]]><script>alert(1)</script>",
    "{{ 7*7 }}",
    "{% raw %}{{ config }}{% endraw %}",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<a href='javascript:alert(1)'>x</a>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    '" onmouseover="alert(1)',
    "' onfocus='alert(1)' autofocus='",
    "<base href=https://x.example>",
    "<meta http-equiv=refresh content='0;url=https://x.example'>",
    "<link rel=stylesheet href=https://x.example/x.css>",
    "<object data=data:text/html,x>",
    "<math><mi xlink:href='javascript:alert(1)'>",
    "\u202egnp.exe",
    "\x00<script>alert(1)</script>",
    "<ScRiPt/src=//x.example>",
    "`${alert(1)}`",
    "=HYPERLINK(1)",
)


GALLERY_SCRIPT = f"<script>{read_resource('gallery.js')}</script>"


class Reader(HTMLParser):
    """Collect the tags, attributes and text of a page, without its one known script."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page.replace(GALLERY_SCRIPT, "", 1))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "img"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read_page(folder: Path) -> str:
    return write_report(folder).read_text(encoding="utf-8")


@pytest.mark.parametrize("class_names", [("NORMAL", "PNEUMONIA"), MULTI], ids=["two", "three"])
def test_page_is_well_formed_and_refers_to_nothing_outside(
    make_run: Callable[..., Any], class_names: tuple[str, ...]
) -> None:
    page = read_page(make_run(class_names).folder)
    reader = Reader(page)
    assert page.startswith("<!DOCTYPE html>")
    assert reader.open == []
    ids = [a["id"] for _, a in reader.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attributes in reader.tags:
        assert tag not in {"script", "iframe", "object", "form"}
        for key in {"src", "href"} & set(attributes):
            value = attributes[key] or ""
            assert value.startswith(("data:", "#"))
            assert not value.startswith("#") or value[1:] in ids
    assert "http://" not in page
    assert "https://" not in page


def test_policy_allows_exactly_the_style_sheet_inside(make_run: Callable[..., Any]) -> None:
    page = read_page(make_run().folder)
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = next(
        a["content"]
        for tag, a in Reader(page).tags
        if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert policy.count("-src ") == 4  # default, img, style, and script: see test_gallery
    assert "unsafe" not in policy


def test_same_run_gives_the_same_bytes_wherever_it_lies(
    make_run: Callable[..., Any], tmp_path: Path
) -> None:
    run = make_run()
    elsewhere = tmp_path / "other" / run.folder.name
    shutil.copytree(run.folder, elsewhere)
    first = write_report(run.folder).read_bytes()
    assert write_report(run.folder).read_bytes() == first
    assert write_report(elsewhere).read_bytes() == first


def test_folder_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"config\.json is missing"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "text"), [("config.json", "[1]"), ("eval_summary.json", "{"), ("config.json", "")]
)
def test_garbled_file_is_refused(make_run: Callable[..., Any], name: str, text: str) -> None:
    run = make_run()
    (run.folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match=re.escape(name)):
        write_report(run.folder)


@pytest.mark.parametrize(
    ("stages", "has", "lacks"),
    [
        ((), ["settings"], ["data", "training", "performance", "mistakes"]),
        (("data",), ["data", "settings"], ["training", "performance", "mistakes"]),
        (("data", "training"), ["data", "training"], ["performance", "figures", "mistakes"]),
        (("data", "training", "evaluation"), ["performance", "mistakes"], ["figures"]),
    ],
    ids=["settings", "data", "training", "evaluation"],
)
@pytest.mark.parametrize("class_names", [("NORMAL", "PNEUMONIA"), MULTI], ids=["two", "three"])
def test_stage_not_yet_run_is_left_out(
    make_run: Callable[..., Any],
    class_names: tuple[str, ...],
    stages: tuple[str, ...],
    has: list[str],
    lacks: list[str],
) -> None:
    reader = Reader(read_page(make_run(class_names, stages=stages).folder))
    ids = {a.get("id") for _, a in reader.tags}
    assert set(has) <= ids
    assert not set(lacks) & ids
    assert "Undefined" not in reader.text
    assert "None" not in reader.text.replace("None.", "")
    assert ("Not evaluated yet" in reader.text) == ("evaluation" not in stages)


@pytest.mark.parametrize(
    "missing",
    [
        *("test_summary.json", "val_summary.json", "eval_summary.json", "thresholds.json"),
        *("env_report.json", "split.csv", "rejected.csv", "history.csv", "timings.csv"),
        *("mistakes.csv", "figures", "gradcam", "gradcam/FP"),
    ],
)
def test_any_one_file_may_be_missing(make_run: Callable[..., Any], missing: str) -> None:
    run = make_run()
    path = run.folder / missing
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    assert Reader(read_page(run.folder)).open == []


def test_val_stands_in_while_test_is_not_scored(make_run: Callable[..., Any]) -> None:
    run = make_run()
    (run.folder / "test_summary.json").unlink()
    text = Reader(read_page(run.folder)).text
    assert "TEST has not been scored yet" in text
    assert "VAL AUROC" in text
    assert "TEST AUROC" not in text


def test_missing_panels_name_the_next_command(make_run: Callable[..., Any]) -> None:
    run = make_run()
    assert "medimg explain" not in Reader(read_page(run.folder)).text
    shutil.rmtree(run.folder / "gradcam")
    text = Reader(read_page(run.folder)).text
    assert "medimg explain" in text
    mistakes = (run.folder / "mistakes.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert mistakes
    assert all(line.split(",")[5] in text for line in mistakes)


def test_absolute_paths_stay_at_home(make_run: Callable[..., Any]) -> None:
    run = make_run()
    evaluation = run.json("eval_summary.json")
    evaluation["warnings"] = ["the file /home/ada/secret/a.png was odd", "see ~/private/b.png"]
    run.write_json("eval_summary.json", evaluation)
    text = Reader(read_page(run.folder)).text
    for word in ("/home", "ada", "secret", "private", str(run.folder.parent)):
        assert word not in text
    assert "…/chest_xray" in text
    assert r"^(?:/|)(person\d+_\w+?)_\d+" in text


@pytest.mark.parametrize("attack", HOSTILE)
def test_hostile_text_stays_text(make_run: Callable[..., Any], attack: str) -> None:
    run = make_run(("NORMAL", attack.replace("/", "∕").replace("\x00", "")), stem="s")
    name = run.class_names[1]
    config = run.json("config.json") | {"project": attack, "arch": attack, "extra": {attack: 1}}
    run.write_json("config.json", config | {"weights": attack})
    evaluation = run.json("eval_summary.json")
    evaluation["warnings"] = [attack]
    run.write_json("eval_summary.json", evaluation)
    split = [{**row, "group": attack[1:]} for row in read_csv(run.folder / "split.csv")]
    run.write_csv("split.csv", list(split[0]), [list(row.values()) for row in split])
    header = ("path", "reason")
    run.write_csv("rejected.csv", header, [(attack.replace("\x00", ""), attack[1:])])
    page = read_page(run.folder)
    reader = Reader(page)
    assert reader.open == []
    tags = {tag for tag, _ in reader.tags}
    assert not tags & {"script", "iframe", "object", "base", "math", "mi"}
    for _, attributes in reader.tags:
        assert not [key for key in attributes if key.startswith("on")]
        assert not (attributes.get("href") or "").startswith("javascript")
    shown = name.replace("\u202e", r"\u202e")
    assert html.escape(shown, quote=False).replace("'", "&#39;").replace('"', "&#34;") in page
    assert "\x00" not in page
    assert "49" not in re.findall(r"<h1><bdi>(.*?)</bdi>", page)


def test_template_and_style_travel_with_the_package() -> None:
    folder = resources.files("medimg_baseline_cls.reporting.page")
    for name in ("base.html.j2", "report.html.j2", "style.css", "gallery.js"):
        assert folder.joinpath(name).is_file()
    documents = resources.files("medimg_baseline_cls.reporting.documents")
    assert documents.joinpath("checklists.toml").is_file()
    templates = {p.name: p.read_text("utf-8") for p in folder.iterdir() if p.name.endswith(".j2")}
    # Two texts are not escaped, the style sheet and the script, both of this package.
    assert [name for name, text in templates.items() if "safe" in text] == ["base.html.j2"]
    assert templates["base.html.j2"].count("| safe") == 2
    assert not any("autoescape" in text for text in templates.values())


def test_the_pictures_of_the_first_screen_are_in_the_page_once(
    make_run: Callable[..., Any],
) -> None:
    run = make_run()
    page = read_page(run.folder)
    panels = sorted((run.folder / "gradcam").rglob("F[PN]/*.png"))
    assert panels
    for picture in (run.folder / "figures" / "roc.png", *panels):
        assert page.count(base64.b64encode(picture.read_bytes()).decode()) == 1
    tags = Reader(page).tags
    used = [a["href"] for tag, a in tags if tag == "use"]
    drawn = [f"#{a['id']}" for tag, a in tags if tag == "image"]
    assert len(used) == len(set(used)) == 1 + min(3, len(panels))
    assert set(used) == set(drawn)


def test_limits_and_research_use_are_said(make_run: Callable[..., Any]) -> None:
    text = Reader(read_page(make_run(stages=()).folder)).text
    assert "attribution: neither localization nor cause" in text
    assert text.count("Research use only") >= 2


def test_many_warnings_fold_and_none_is_lost(make_run: Callable[..., Any]) -> None:
    run = make_run()
    warnings = [f"warning number {i}." for i in range(30)]
    run.write_json("eval_summary.json", run.json("eval_summary.json") | {"warnings": warnings})
    page = read_page(run.folder)
    assert all(page.count(text) == 1 for text in warnings)
    assert "<summary>26 more</summary>" in page


def test_warnings_are_on_the_first_screen(make_run: Callable[..., Any]) -> None:
    run = make_run()
    page = read_page(run.folder)
    assert page.index("VAL is small") < page.index("TEST AUROC")
    run.write_json("eval_summary.json", run.json("eval_summary.json") | {"warnings": []})
    assert "raised no warnings" in read_page(run.folder)


def test_sentences_for_a_manuscript_are_those_of_the_model_card(
    make_run: Callable[..., Any],
) -> None:
    run = make_run()
    text = Reader(read_page(run.folder)).text
    sentences = describe_performance(read_run(run.folder))
    assert len(sentences) == 4
    assert all(sentence in text for sentence in sentences)

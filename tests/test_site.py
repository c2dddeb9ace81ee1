"""The documentation site builds without a warning; its generated parts are those of the code."""

import inspect
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.test_architecture import MAY_IMPORT

from medimg_baseline_cls.catalogue import DECISIONS, OVERALL, RULES, SCORES
from medimg_baseline_cls.cli import COMMANDS
from medimg_baseline_cls.config import Config
from medimg_baseline_cls.interpret.methods import METHODS
from medimg_baseline_cls.training.steps import run_epoch, train_step

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site once, with warnings as errors, where no proxy leads anywhere."""
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    places = ["-d", str(target / "doctrees"), str(DOCS), str(target / "html")]
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(
        [*command, *places], cwd=ROOT, env={**os.environ, **nowhere}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return target / "html"


def text_of(page: Path) -> str:
    words: list[str] = []
    parser = HTMLParser()
    parser.handle_data = words.append  # type: ignore[method-assign]
    parser.feed(page.read_text(encoding="utf-8"))
    return "".join(words)


def test_every_page_is_on_the_site(site: Path) -> None:
    pages = [path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")]
    pages = [page for page in pages if page.parts[0] != "_build"]
    assert len(pages) > 30
    assert [str(page) for page in pages if not (site / page).is_file()] == []


def test_pages_ask_nothing_of_other_machines(site: Path) -> None:
    loaded = re.compile(r'<(?:script|img|link|iframe)\b[^>]*\b(?:src|href)="(?:https?:)?//([^"]+)')
    found = {page.name: loaded.findall(page.read_text()) for page in site.rglob("*.html")}
    assert {name: places for name, places in found.items() if places} == {}


def test_every_setting_is_listed_with_its_default(site: Path) -> None:
    text = text_of(site / "reference" / "settings.html")
    fields = Config.__dataclass_fields__
    assert [name for name in fields if f"--{name.replace('_', '-')}" not in text] == []
    assert re.search(r"--image-size --img-size\s+224\s", text)


def test_every_command_is_listed_with_its_help(site: Path) -> None:
    text = text_of(site / "reference" / "commands.html")
    assert [name for name in COMMANDS if f"usage: medimg {name} " not in text] == []


def test_every_metric_is_listed(site: Path) -> None:
    text = text_of(site / "reference" / "metrics.html")
    metrics = [*SCORES.values(), *DECISIONS.values(), *OVERALL.values()]
    missing = [m.key for m in metrics if m.key not in text or m.source not in text]
    assert missing == []
    assert [rule for rule in RULES if rule not in text] == []


def test_the_loop_on_the_site_is_the_one_that_trains(site: Path) -> None:
    text = text_of(site / "explanation" / "training-loop.html")
    for function in (run_epoch, train_step):
        assert inspect.getsource(function).strip() in text


def test_the_picture_has_every_package(site: Path) -> None:
    page = (site / "explanation" / "packages.html").read_text(encoding="utf-8")
    drawn = re.findall(r"<text[^>]*>(\w+)</text>", page)
    assert sorted(drawn) == sorted(room for room in MAY_IMPORT if not room.startswith("__"))


def test_the_table_of_the_design_is_the_one_that_is_enforced() -> None:
    text = (DOCS / "design.md").read_text(encoding="utf-8").split("## Rooms and doors")[1]
    rows = re.findall(r"^\| ([a-z]+) \| ([^|]+) \|", text.split("\n## ")[0], re.MULTILINE)
    written = {room: set(re.findall(r"[a-z]+", allowed)) for room, allowed in rows[1:]}
    rooms = {room for room in MAY_IMPORT if "__" not in room}
    assert written.pop("pipeline") == {"all", "but", "cli"}
    assert MAY_IMPORT["pipeline"] == rooms - {"pipeline", "cli"}
    assert written == {room: MAY_IMPORT[room] for room in rooms - {"pipeline"}}


SOURCE = ROOT / "src" / "medimg_baseline_cls"


def defines(path: Path, name: str) -> bool:
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return bool(re.search(rf"^ *(?:def |class )?{name}\b(?:\(| =|:)", text, re.MULTILINE))


def test_names_of_the_design_are_where_it_says() -> None:
    text = (DOCS / "design.md").read_text(encoding="utf-8").split("## Where is ...?")[1]
    rows = re.findall(r"^\| [^|]+ \| `([^`]+)`[^|]* \| `([^`]+)` \|", text, re.MULTILINE)
    assert len(rows) > 15
    assert [(path, name) for path, name in rows if not defines(SOURCE / path, name)] == []


def test_every_kind_of_heat_map_is_described() -> None:
    page = (DOCS / "how-to" / "heat-maps.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE) == list(METHODS)


def test_names_of_the_guides_are_where_they_say() -> None:
    texts = [path.read_text(encoding="utf-8") for path in DOCS.glob("how-to/add-*.md")]
    rows = re.findall(r"`([^`]+)`\s+(?:\([^)]*\)\s+)?in\s+`([^`]+\.py)`", "".join(texts))
    assert len(rows) > 5
    assert [(name, path) for name, path in rows if not defines(SOURCE / path, name)] == []

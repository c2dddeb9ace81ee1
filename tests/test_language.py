"""Plain words: phrases that a reader who is not one of us would stumble over stay out of our texts.

The list is that of the worst offenders, each with what to write instead. It covers the documents,
all sources with their templates and tables, and the latest changes.
"""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXTS = (
    *("README.md", "CONTRIBUTING.md", "Makefile"),
    *("docs/**/*.md", "docs/**/*.sbatch", "notebooks/*.py"),
    *(f"src/**/*.{suffix}" for suffix in ("py", "pyi", "j2", "toml")),
)
PHRASES = {
    r"\bst(?:and|ands|ood)\b(?! for\b)": "is, appears, is listed",
    r"\bbeside\b": "next to",
    r"\b(?:go|goes|going|went) on\b": "resumes, continues",
    r"\bdrawn (?:again|anew)\b": "resampled",
    r"(?<!there )\b(?:is|are|was|were) no\b(?! longer)": "is not a",
    r"\bfilms?\b(?!\")": "image, radiograph",
    r"\bfigures?\b(?![/`\":-]|\.\w| is a picture)": "metric, estimate; a figure is a picture",
    r"\bmend(?:s|ed|ing)?\b": "fix, correct",
    r"\bby (?:itself|themselves)\b": "automatically, on its own",
    r"\bt(?:ell|ells|old)\b[^.]{0,30}\b(?:apart|from)\b": "distinguish",
    r"\bsays? `?--": "pass --flag",
    r"(?<!the subgroup )\bholds?\b": "contains, has; is true",  # a reason in stored files
    r"\bl(?:ie|ies|ying)\b": "is",
    r"\b(?:anew|once more)\b": "again",
    r"\bcalled rightly\b": "classified correctly",
    r"\bon (?:two|both) sides\b": "in more than one split",
    r"\b(?:in silence|without a word)\b": "silently, without a warning",
}

# Texts about pictures, where a figure is one.
DRAWN = ("/plots/", "/page/pictures.py", "/text/names.py")

is_figure = re.compile(r"figures?", re.IGNORECASE).fullmatch
in_template = re.compile(r"</?figure|\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}", re.DOTALL)


def texts() -> Iterator[tuple[str, str]]:
    for pattern in TEXTS:
        for path in sorted(ROOT.glob(pattern)):
            if "_build" not in path.parts:
                yield path.relative_to(ROOT).as_posix(), read(path)
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    yield "CHANGELOG.md", changes.split("## Unreleased", 1)[1].split("\n## ", 1)[0]


def read(path: Path) -> str:
    """Return a text without names in code that are also words, such as `figure`, a picture."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".j2":  # of its code, the quoted texts
        return in_template.sub(lambda m: " ".join(re.findall(r'"[^"]*"', m[0])), text)
    if path.suffix not in (".py", ".pyi"):
        return text
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    words = [t.string for t in tokens if t.type != tokenize.NAME or not is_figure(t.string)]
    is_drawn = any(part in path.as_posix() for part in DRAWN)
    return re.sub(r"(?i)\bfigure", "picture", " ".join(words)) if is_drawn else " ".join(words)


def find_phrases(text: str) -> list[str]:
    flat = " ".join(re.sub(r"https?://\S+", "", text).split())
    return [
        f"{flat[max(m.start() - 40, 0) : m.end() + 20]!r}: write {instead}"
        for phrase, instead in PHRASES.items()
        for m in re.finditer(phrase, flat, flags=re.IGNORECASE)
    ]


def test_texts_are_in_plain_words() -> None:
    found = {name: find_phrases(text) for name, text in texts()}
    assert {name: phrases for name, phrases in found.items() if phrases} == {}


@pytest.mark.parametrize(
    "text",
    [
        "It stands in the file.",
        "a table beside it",
        "training goes\non",
        "patients are drawn again",
        "a view is no patient",
        "two films",
        "every figure",
        "maps that mend them",
        "it runs by itself",
        "tell one class from another",
        "say --resume",
        "the folder holds files",
        "files lie there",
        "chosen anew",
        "called rightly",
        "patients on both sides",
        "left out without a word",
    ],
)
def test_a_phrase_is_found(text: str) -> None:
    assert len(find_phrases(text)) == 1


@pytest.mark.parametrize(
    "text", ["where there is no interval", "is no longer", "figures/roc.png", "R stands for radius"]
)
def test_plain_words_are_left_alone(text: str) -> None:
    assert find_phrases(text) == []


@pytest.mark.parametrize(
    ("name", "text", "num_found"),
    [
        ("page.html.j2", '{% for figure in figures %}<figure id="figure-1">{% endfor %}', 0),
        ("page.html.j2", '{{ note("No figure here") }}', 1),
        ("page.html.j2", "<p>Every figure has an interval.</p>", 1),
        ("a.py", "figures = draw(figure)", 0),
        ("a.py", "# every figure", 1),
        ("a.pyi", '"""Return every figure."""', 1),
        ("a.toml", 'items = ["Every figure of a split"]', 1),
        ("plots/a.py", '"""Draw a figure."""', 0),
    ],
)
def test_names_in_code_are_not_read_as_words(
    tmp_path: Path, name: str, text: str, num_found: int
) -> None:
    (tmp_path / "plots").mkdir()
    path = tmp_path / name
    path.write_text(text + "\n", encoding="utf-8")
    assert len(find_phrases(read(path))) == num_found

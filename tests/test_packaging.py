"""The wheel holds everything that the package needs, and the lock file everything it asks for."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import medimg_baseline_cls

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def locked_versions() -> dict[str, str]:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)(?:\[.*\])?==([^\s;\\]+)", text, flags=re.MULTILINE))


def locked_extras() -> dict[str, set[str]]:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    found = re.findall(r"^([a-z0-9-]+)(?:\[(.*)\])?==", text, flags=re.MULTILINE)
    return {name: set(extras.split(", ")) for name, extras in found}


def asked_for() -> list[Requirement]:
    texts = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    return [Requirement(text) for text in texts]


@pytest.mark.parametrize("requirement", asked_for(), ids=lambda r: r.name)
def test_lock_file_satisfies(requirement: Requirement) -> None:
    version = locked_versions()[requirement.name.lower()]
    assert Version(version) in requirement.specifier


def test_lock_file_has_a_hash_per_version_and_names_no_host() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entries = re.split(r"^(?=[a-z0-9-]+(?:\[.*\])?==)", text, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text


def test_lock_file_names_the_extras_that_packages_ask_for() -> None:
    # pip before 23.3 takes the newest version, unpinned, for an extra that the lock leaves out.
    held = locked_extras()
    installed = [d for d in distributions() if canonicalize_name(d.name) in held]
    asked = [Requirement(text) for d in installed for text in d.requires or ()]
    asked = [r for r in asked if r.marker is None or r.marker.evaluate({"extra": ""})]
    wanted = [r for r in asked if r.extras]
    assert wanted
    assert [r for r in wanted if not r.extras <= held[canonicalize_name(r.name)]] == []


@pytest.mark.slow
def test_wheel_holds_all_sources_and_installs_a_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("medimg_baseline_cls-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        entry_points = archive.read(next(n for n in held if n.endswith("entry_points.txt")))
    source = ROOT / "src"
    needed = {
        path.relative_to(source).as_posix()
        for path in (source / "medimg_baseline_cls").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert needed <= held
    assert b"medimg = medimg_baseline_cls.cli:main" in entry_points
    assert f"-{medimg_baseline_cls.__version__}-" in wheel.name
    target = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(wheel)], check=True, capture_output=True)
    version = subprocess.run(
        [sys.executable, "-m", "medimg_baseline_cls", "--version"],
        cwd=target,
        env={**os.environ, "PYTHONPATH": str(target)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert version.stdout.split() == ["medimg", medimg_baseline_cls.__version__]


def test_versions_agree() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {medimg_baseline_cls.__version__}" in citation

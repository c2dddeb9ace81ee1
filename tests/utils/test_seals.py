"""Results whose hashes are next to them: an edit is noticed, and nothing else is."""

import hashlib
from pathlib import Path

import pytest

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.utils.seals import NAME, break_seals, require_sealed, seal_results


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "patients").mkdir()
    for name in ("a.json", "patients/b.json", "other.json"):
        (tmp_path / name).write_text("{}\n", encoding="utf-8")
    seal_results(tmp_path, ("a.json", "patients/b.json", "never.json"))
    return tmp_path


def test_results_as_they_were_written_pass(folder: Path) -> None:
    require_sealed(folder)
    digest = hashlib.sha256(b"{}\n").hexdigest()
    written = (folder / NAME).read_text(encoding="utf-8")
    assert written == f"{digest}  a.json\n{digest}  patients/b.json\n"


@pytest.mark.parametrize("name", ["a.json", "patients/b.json"])
def test_an_edited_result_is_named(folder: Path, name: str) -> None:
    (folder / name).write_text('{"auroc": 1}\n', encoding="utf-8")
    with pytest.raises(RunError, match=f"{name} was edited after it was written: restore it"):
        require_sealed(folder)
    require_sealed(folder, known_bad={name})


def test_a_missing_result_is_refused_where_all_are_needed(folder: Path) -> None:
    require_sealed(folder, is_complete=True)
    (folder / "a.json").unlink()
    with pytest.raises(RunError, match=r"a\.json is missing"):
        require_sealed(folder, is_complete=True)


def test_later_results_are_added_and_what_is_replaced_is_forgotten(folder: Path) -> None:
    before = (folder / NAME).read_text(encoding="utf-8").splitlines()
    (folder / "patients" / "b.json").write_text("[]", encoding="utf-8")
    break_seals(folder, ("patients/b.json",))
    assert (folder / NAME).read_text(encoding="utf-8").splitlines() == before[:1]
    require_sealed(folder)  # whatever is half-written
    seal_results(folder, ("patients/b.json", "other.json"))
    digests = [hashlib.sha256(text).hexdigest() for text in (b"[]", b"{}\n")]
    added = [f"{digests[0]}  patients/b.json", f"{digests[1]}  other.json"]
    assert (folder / NAME).read_text(encoding="utf-8").splitlines() == [before[0], *added]


def test_other_files_and_missing_ones_do_not_count(folder: Path) -> None:
    (folder / "other.json").write_text("[]", encoding="utf-8")
    (folder / "a.json").unlink()
    require_sealed(folder)
    (folder / "patients" / "b.json").write_text("[]", encoding="utf-8")
    (folder / NAME).unlink()
    require_sealed(folder)

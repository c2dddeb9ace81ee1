"""One door to the bytes of an image: a file, or the files of a case as one block."""

import os
from pathlib import Path

import pytest
from tests.dicom_series import draw_slices, encode, phantom, write_series

from medimg_baseline_cls.data import image_bytes
from medimg_baseline_cls.data.image_bytes import FolderSource, open_source
from medimg_baseline_cls.data.read import pack_files
from medimg_baseline_cls.errors import BadImageError


def test_a_file_is_its_bytes_with_volumes_and_without(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"content")
    for has_volumes in (False, True):
        source = open_source(tmp_path, cache_dir=tmp_path, has_volumes=has_volumes)
        assert source.read("a.png") == b"content"
        with pytest.raises(BadImageError, match="is not there"):
            source.read("b.png")


def test_a_case_is_the_block_of_its_files(tmp_path: Path) -> None:
    slices = draw_slices(phantom())
    folder = tmp_path / "case"
    folder.mkdir()
    for number, item in enumerate(slices):
        (folder / f"{number}").write_bytes(encode(item))
    (folder / "DICOMDIR").write_text("an index")
    files = sorted((folder / str(number)).read_bytes() for number in range(len(slices)))
    assert FolderSource(tmp_path, has_volumes=True).read("case") == pack_files(files)


def test_a_case_that_would_fill_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path / "case", phantom())
    monkeypatch.setattr(image_bytes, "MAX_CASE_BYTES", 10_000)
    with pytest.raises(BadImageError, match=r"the files of the case have 2\d kB, more than 10 kB"):
        FolderSource(tmp_path, has_volumes=True).read("case")


def test_a_pipe_and_a_broken_link_are_no_case(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.dcm")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    source = FolderSource(tmp_path, has_volumes=True)
    for name in ("pipe.dcm", "link"):
        with pytest.raises(BadImageError, match="not a regular file"):
            source.read(name)


def test_a_file_that_was_added_is_seen(tmp_path: Path) -> None:
    write_series(tmp_path / "case", phantom(), uid="1.2")
    source = FolderSource(tmp_path, has_volumes=True)
    before = source.read("case")
    write_series(tmp_path / "case", phantom(1), uid="1.3", name="x{}.dcm")
    with pytest.raises(BadImageError, match="has 2 series"):
        source.read("case")
    assert source.read("case/1.2") == before

"""What the machine refuses is one sentence, whichever library says it, and nothing else is."""

import errno
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medimg_baseline_cls.errors import MedimgError, ResourceError
from medimg_baseline_cls.utils.faults import (
    ending_plainly,
    explain_fault,
    find_resume_command,
    is_of_machine,
    is_out_of_memory,
    plain_faults,
    require_writable,
)
from medimg_baseline_cls.utils.files import open_atomic, write_bytes_atomic, write_csv


def system_error(name: str) -> OSError:
    number = getattr(errno, name)
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ENOSPC", "last.pt cannot be written, because the disk is full: free some space"),
        ("EDQUOT", "quota is used up"),
        ("EFBIG", "larger than is allowed"),
        ("EROFS", "read-only"),
        ("EACCES", "permission is denied"),
        ("EPERM", "permission is denied"),
        ("EIO", "input/output error"),
        ("ESTALE", "network drive"),
        ("ENAMETOOLONG", "name is too long"),
        ("EMFILE", "too many files are open"),
        ("ENOMEM", "not enough memory"),
        ("EISDIR", "it is a folder"),
        ("EEXIST", "something of this name is already there"),
        ("ENOTDIR", "a file is where a folder is needed"),
        ("ENOENT", "it is not there"),
        ("ELOOP", "links lead in a circle"),
        ("ENXIO", "it is a device, pipe or socket"),
        ("EDOM", f'the system reported "{os.strerror(errno.EDOM).lower()}"'),  # no words of ours
    ],
)
def test_errors_of_the_system_are_said_in_words(name: str, words: str) -> None:
    explained = explain_fault(system_error(name), Path("last.pt"))
    assert explained is not None and words in str(explained)
    assert "Errno" not in str(explained)


def test_a_file_that_the_system_names_is_named() -> None:
    error = OSError(errno.EACCES, "Permission denied", "runs/a/figures")
    assert str(explain_fault(error)).startswith("runs/a/figures cannot be read or written")


class FullDisk(io.BytesIO):
    """A file on a disk with room for some bytes."""

    def __init__(self, room: int, error: OSError) -> None:
        super().__init__()
        self._room, self._error = room, error

    def write(self, data) -> int:
        if self.tell() + len(data) > self._room:
            raise self._error
        return super().write(data)


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EFBIG", "EIO"])
@pytest.mark.parametrize("room", [0, 300, 40_000])
def test_what_torch_makes_of_a_full_disk_is_seen_through(name: str, room: int) -> None:
    with pytest.raises(ResourceError) as caught, plain_faults(Path("last.pt")):
        torch.save({"weights": torch.zeros(20_000)}, FullDisk(room, system_error(name)))
    expected = explain_fault(system_error(name), Path("last.pt"))
    assert str(caught.value) == str(expected)
    assert isinstance(caught.value.__cause__, RuntimeError | OSError)


def test_torch_and_numpy_without_memory_are_recognized() -> None:
    size = 2**60  # more than any machine can address
    with pytest.raises((RuntimeError, MemoryError)) as of_torch:
        torch.empty(size, dtype=torch.uint8)
    with pytest.raises(MemoryError) as of_numpy:
        np.empty(size, dtype=np.uint8)
    assert is_out_of_memory(of_torch.value) and is_out_of_memory(of_numpy.value)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("std::bad_alloc"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("could not create a memory object"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("can't start new thread"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        ImportError("x.so: failed to map segment from shared object"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_lack_of_memory_has_one_sentence(error: Exception) -> None:
    assert str(explain_fault(error)).startswith("there is not enough memory: ")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ImportError("No module named 'nibabel'"),
        OSError("a decoder's own words, without a number of the system"),
        ValueError("can't allocate memory"),
    ],
)
def test_mistakes_of_the_program_keep_their_traceback(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, plain_faults(Path("x")):
        raise error
    assert caught.value is error


def test_nobody_who_reads_on_is_no_fault() -> None:
    with pytest.raises(BrokenPipeError), plain_faults():
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_only_what_would_fail_for_any_file_is_of_the_machine() -> None:
    machine = ("EMFILE", "ENFILE", "ENOMEM", "ESTALE")
    assert all(is_of_machine(system_error(name)) for name in machine)
    files = ("EACCES", "EIO", "ENOENT", "EISDIR")
    assert not any(is_of_machine(system_error(name)) for name in files)


@pytest.mark.parametrize("name", ["ENOSPC", "EROFS", "EIO", "EACCES", "EDQUOT"])
@pytest.mark.parametrize("step", ["fsync", "replace", "mkdir"])
def test_a_writer_that_fails_anywhere_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, step: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise system_error(name)

    target = tmp_path / "run" / "best.pt"
    write_bytes_atomic(target, b"old")
    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, step)), fail)
    with pytest.raises(ResourceError, match=r"best\.pt cannot be written, because") as caught:
        write_bytes_atomic(target, b"new")
    monkeypatch.undo()
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.place == target
    assert target.read_bytes() == b"old" and list(target.parent.iterdir()) == [target]


def test_a_row_that_cannot_be_made_is_not_blamed_on_the_disk(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has 1 cells, not 2"):
        write_csv(tmp_path / "a.csv", ("a", "b"), rows=[("1",)])
    assert not list(tmp_path.iterdir())


def test_the_writer_sees_through_torch(tmp_path: Path) -> None:
    target = tmp_path / "last.pt"
    full = FullDisk(300, system_error("ENOSPC"))
    with pytest.raises(ResourceError, match=r"last\.pt .* the disk is full"), open_atomic(target):
        torch.save({"weights": torch.zeros(20_000)}, full)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("names", "command"),
    [
        (("config.json", "split.csv"), "medimg run --resume "),
        (("seeds.json",), "medimg run --resume "),
        (("sweep.json",), "medimg sweep --resume "),
        (("cv.json",), "medimg cv --resume "),
        (("config.json",), None),
        ((), None),
    ],
)
def test_a_command_that_fails_names_what_finishes_it(
    tmp_path: Path, names: tuple[str, ...], command: str | None
) -> None:
    folder = tmp_path / "a run"
    folder.mkdir()
    for name in names:
        (folder / name).touch()

    def work() -> None:
        with plain_faults(folder / "figures" / "roc.png"):
            raise system_error("ENOSPC")

    assert find_resume_command(folder) == (command and f"{command}'{folder}'")
    with pytest.raises(MedimgError) as caught:
        ending_plainly(is_resumable=True)(work)()
    end = f"continue with: {command}'{folder}'" if command else "repeat the command."
    assert str(caught.value).endswith(
        f"roc.png cannot be written, because the disk is full: free some space, then {end}"
    )
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(MedimgError, match="then repeat the command"):
        ending_plainly(is_resumable=False)(work)()


def test_a_command_that_succeeds_is_let_through() -> None:
    assert ending_plainly(is_resumable=True)(divmod)(7, 2) == (3, 1)


def test_a_folder_that_cannot_be_written_is_refused_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_writable(tmp_path / "not" / "there yet", "name another one")
    # Root may write everywhere but on a read-only disk, and there os.access says so.
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ResourceError, match="nothing can be written into .*: name another one"):
        require_writable(tmp_path / "not" / "there yet", "name another one")


def test_of_nested_commands_the_outermost_says_what_to_do(tmp_path: Path) -> None:
    for name in ("config.json", "split.csv"):
        (tmp_path / name).touch()

    @ending_plainly(is_resumable=False)
    def evaluate() -> None:
        write_bytes_atomic(tmp_path / "config.json" / "x", b"")

    @ending_plainly(is_resumable=True)
    def run() -> None:
        evaluate()

    with pytest.raises(ResourceError) as inner:
        evaluate()
    assert str(inner.value) == f"{inner.value.fault}, then repeat the command."
    with pytest.raises(ResourceError) as outer:
        run()
    command = find_resume_command(tmp_path)
    assert str(outer.value) == f"{outer.value.fault}, then continue with: {command}"
    assert isinstance(outer.value.__cause__, OSError)


@pytest.mark.parametrize("strict", [True, False])
def test_links_in_a_circle_are_named_whoever_notices(tmp_path: Path, strict: bool) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ResourceError, match=r"/a cannot .* links lead in a circle"), plain_faults():
        (tmp_path / "a").resolve(strict=strict)


def test_text_is_taken_for_a_path_where_a_path_is_asked_for() -> None:
    @ending_plainly(is_resumable=False)
    def work(
        place: Path,
        runs: Sequence[Path | str],
        *,
        run: Path | str = "latest",
        other: Path | None = None,
        space: Mapping[str, int] | Path | None = None,
        name: str = "n",
    ) -> tuple[object, ...]:
        return place, list(runs), run, other, space, name

    call: Any = work
    expected = Path("a"), ["b/c"], "d", Path("e"), Path("f"), "g"
    assert call("a", "b/c", run="d", other="e", space="f", name="g") == expected
    assert call(Path("a"), Path("b"))[:2] == (Path("a"), [Path("b")])
    assert call("a", ["b", "c"], space={"x": 1})[1:5] == (["b", "c"], "latest", None, {"x": 1})
    with pytest.raises(TypeError):
        call("a")

"""A folder has one writer; a dead one is succeeded at once, a living one is named."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.utils import locks
from medimg_baseline_cls.utils.locks import (
    LOCK_NAME,
    Holder,
    find_holder,
    hold_folder,
    is_abandoned,
    is_name_of_dead_process,
    name_this_process,
    remove_folder,
)
from medimg_baseline_cls.utils.log import RunLog

HOLDER = """
import os, subprocess, sys, time
from pathlib import Path
from medimg_baseline_cls.utils import locks
if sys.argv[2] == "no locks":
    locks.fcntl = None
with locks.hold_folder(Path(sys.argv[1]), command="medimg train"):
    if sys.argv[2] == "forks" and not os.fork():
        time.sleep(60)
    if sys.argv[2] == "starts":
        subprocess.Popen(["sleep", "60"], close_fds=False, stdout=subprocess.DEVNULL)
    print("held", flush=True)
    time.sleep(60)
"""

# Each of several processes tries once; who is inside finds no other inside.
RUSH = """
import os, sys, time
from pathlib import Path
from medimg_baseline_cls.errors import RunError
from medimg_baseline_cls.utils import locks
folder, kind = Path(sys.argv[1]), sys.argv[2]
if kind == "no locks":
    locks.fcntl = None
gate = os.pipe()
def contend():
    os.close(gate[1])
    os.read(gate[0], 1)  # until the parent closes its end
    try:
        with locks.hold_folder(folder, command="medimg evaluate"):
            (folder / "inside").touch(exist_ok=False)
            time.sleep(0.5)
            (folder / "inside").unlink()
        return 0
    except RunError as error:
        return 2 if "is being written by" in str(error) else 3
pids = []
for _ in range(7):
    pids.append(os.fork())
    if not pids[-1]:
        os._exit(contend())
os.close(gate[0])
os.close(gate[1])
print(sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids))
"""


class Log(RunLog):
    """Notes what is said."""

    def __init__(self) -> None:
        super().__init__(None, None)
        self.lines: list[str] = []

    def write(self, line: str, style: str = "") -> None:
        self.lines.append(line)


def start(script: str, *arguments: object) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def hold_elsewhere(folder: Path, how: str = "plain") -> "subprocess.Popen[str]":
    process = start(HOLDER, folder, how)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def holding(tmp_path: Path):
    """Return a function that starts a holder; all of its group are killed in the end."""
    started: list[subprocess.Popen[str]] = []

    def hold(how: str = "plain") -> "subprocess.Popen[str]":
        started.append(hold_elsewhere(tmp_path, how))
        return started[-1]

    yield hold
    for process in started:
        with process, suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def lose_flock(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    class NoLocks:
        LOCK_EX = LOCK_NB = 0

        @staticmethod
        def flock(handle: int, kind: int) -> None:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locks, "fcntl", NoLocks)


def write_holder(folder: Path, **changes: str) -> Holder:
    own = {"host": locks.socket.gethostname(), "process": "1:1", "command": "medimg train"}
    content = {**own, **changes}
    (folder / LOCK_NAME).write_text(json.dumps(content))
    return Holder(**content)


@pytest.mark.parametrize("how", ["plain", "no locks"])
def test_a_second_writer_is_told_who_the_first_is_and_what_to_do(
    tmp_path: Path, holding: Callable[..., "subprocess.Popen[str]"], how: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    process = holding(how)
    if how == "no locks":
        lose_flock(monkeypatch, errno.ENOLCK)
    pattern = rf"being written by process {process.pid} \(medimg train\).* --resume .*`"
    with pytest.raises(RunError, match=pattern), hold_folder(tmp_path, command="medimg evaluate"):
        pass
    assert str(find_holder(tmp_path)) == f"process {process.pid} (medimg train)"
    assert not is_abandoned(tmp_path)


@pytest.mark.parametrize("how", ["plain", "forks", "starts"])
def test_the_lock_dies_with_its_process_and_not_with_its_children(
    tmp_path: Path, holding: Callable[..., "subprocess.Popen[str]"], how: str
) -> None:
    process = holding(how)
    process.kill()
    process.wait()
    for _ in range(200):  # a child may have been forked just now and still be closing its copy
        if is_abandoned(tmp_path):
            break
        time.sleep(0.05)
    assert is_abandoned(tmp_path) and find_holder(tmp_path) is None
    with hold_folder(tmp_path, command="medimg evaluate"):
        assert find_holder(tmp_path) is not None
    assert list(tmp_path.iterdir()) == []


def test_a_dead_process_that_nobody_waited_for_is_dead(
    tmp_path: Path, holding: Callable[..., "subprocess.Popen[str]"]
) -> None:
    process = holding("no locks")
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
    assert find_holder(tmp_path) is None


@pytest.mark.parametrize("kind", ["locks", "no locks"])
def test_of_seven_at_once_at_most_one_is_inside_and_the_others_are_refused(
    tmp_path: Path, kind: str
) -> None:
    with start(RUSH, tmp_path, kind) as process:
        codes = json.loads(process.communicate()[0])
    assert set(codes) <= {0, 2} and 0 in codes, codes
    assert list(tmp_path.iterdir()) == []


def test_a_thread_may_hold_again_what_it_holds_and_another_thread_may_not(tmp_path: Path) -> None:
    refused: list[str] = []

    def try_too() -> None:
        try:
            with hold_folder(tmp_path, command="medimg report"):
                pass
        except RunError as error:
            refused.append(str(error))

    with hold_folder(tmp_path, command="medimg run"):
        with hold_folder(tmp_path / "." / "", command="medimg evaluate"):
            pass
        assert (tmp_path / LOCK_NAME).is_file(), "the outer one still holds it"
        thread = threading.Thread(target=try_too)
        thread.start()
        thread.join()
    assert len(refused) == 1 and f"process {os.getpid()} (medimg run)" in refused[0]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named_and_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    lose_flock(monkeypatch, number)
    write_holder(tmp_path, process=f"{os.getpid()}:1")  # the number was given again
    log = Log()
    with hold_folder(tmp_path, command="medimg train", log=log):
        pass
    assert "without file locks" in log.lines[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_renewed", [True, False])
def test_a_holder_on_another_host_is_alive_while_it_renews_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_renewed: bool
) -> None:
    """As where flock is local to each host: it is free here."""
    monkeypatch.setattr(locks, "SILENT_SECONDS", 0.3)
    monkeypatch.setattr(locks, "BEAT_SECONDS", 0.05)
    write_holder(tmp_path, host="node7", process="42:7")
    path, log, over = tmp_path / LOCK_NAME, Log(), threading.Event()

    def renew(seconds: float = 0) -> None:
        while is_renewed and not over.wait(0.01):
            seconds += 1
            os.utime(path, (seconds, seconds))

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        with hold_folder(tmp_path, command="medimg train", log=log):
            assert not is_renewed
    except RunError as error:
        assert is_renewed and "process 42 on node7 (medimg train)" in str(error)
        assert json.loads(path.read_text())["host"] == "node7"
    finally:
        over.set()
        thread.join()
    assert "whether process 42 on node7 (medimg train) is still alive" in log.lines[0]


def test_a_holder_renews_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "BEAT_SECONDS", 0.01)
    renewed = threading.Event()

    def renew(handle: int) -> None:
        assert os.path.samestat(os.fstat(handle), (tmp_path / LOCK_NAME).stat())
        renewed.set()

    with monkeypatch.context() as patch:
        patch.setattr(locks.os, "utime", renew)
        with hold_folder(tmp_path, command="medimg train"):
            assert renewed.wait(60)


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.EROFS, "writable"), (errno.EACCES, "writable"), (errno.ENOSPC, "free some space")],
)
def test_a_folder_that_cannot_be_written_to_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(locks.os, "open", refuse)
        with (
            pytest.raises(RunError, match=rf"{os.strerror(number)}.*evaluate needs.*{advice}"),
            hold_folder(tmp_path, command="medimg evaluate"),
        ):
            pass


def test_a_held_folder_can_be_removed_by_its_holder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with hold_folder(folder, command="medimg train"):
        remove_folder(folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", '{"host": 1}', "[]", "null", "[" * 100_000),
        *(
            json.dumps({"host": host, "process": process, "command": command})
            for host in (socket.gethostname(), "elsewhere", None, 3)
            for process, command in [
                *(("", "medimg"), (None, "medimg"), (7, "medimg"), ("x", "medimg"), ([], "")),
                *(("9" * 5000 + ":1", "medimg"), ("-1:2", "medimg"), (f"{os.getpid()}:1", None)),
            ]
        ),
    ],
    ids=range(38),  # a host and a process in a name would differ between workers
)
def test_a_lock_file_that_names_nobody_is_nobodys(tmp_path: Path, text: str) -> None:
    (tmp_path / LOCK_NAME).write_text(text)
    assert find_holder(tmp_path) is None and not is_abandoned(tmp_path)
    with hold_folder(tmp_path, command="medimg train"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_name_of_this_process_is_that_of_a_living_one() -> None:
    name = name_this_process()
    host, _, _ = name.rpartition("-")
    assert not is_name_of_dead_process(name)
    others = ("", "x", f"{host}-", f"{host}-abc", f"{host}-123", f"other-{host}-1.1", "other-1.1")
    assert not any(map(is_name_of_dead_process, others))  # unknown: not ours, or not complete
    assert is_name_of_dead_process(f"{host}-{2**22 + 1}.1")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        *(("folder", "is a folder"), ("pipe", "is a pipe"), ("socket", "is a device or socket")),
        *(("dangling", "is a symbolic link"), ("link", "is a symbolic link")),
    ],
)
def test_what_is_no_file_is_not_locked_nor_waited_for_but_named(
    tmp_path: Path, kind: str, words: str
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    path = folder / LOCK_NAME
    (tmp_path / "target").write_text("precious")
    with socket.socket(socket.AF_UNIX) as endpoint:
        {
            "folder": path.mkdir,
            "pipe": lambda: os.mkfifo(path),
            "socket": lambda: endpoint.bind(os.path.relpath(path)),
            "dangling": lambda: path.symlink_to("../nowhere"),
            "link": lambda: path.symlink_to("../target"),
        }[kind]()
    assert find_holder(folder) is None and not is_abandoned(folder)
    with (
        pytest.raises(RunError, match=f"{words}, but .* remove it"),
        hold_folder(folder, command="m"),
    ):
        pass
    assert (tmp_path / "target").read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()

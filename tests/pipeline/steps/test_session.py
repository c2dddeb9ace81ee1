"""Opening runs: a new folder each time, settings remembered, refusals in one sentence."""

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from medimg_baseline_cls.config import Config
from medimg_baseline_cls.errors import ConfigError, RunError
from medimg_baseline_cls.pipeline.steps import session as session_room
from medimg_baseline_cls.pipeline.steps.session import (
    count_threads,
    open_session,
    read_provenance,
    reopen_session,
    warn_of_machine,
    write_settings,
)
from medimg_baseline_cls.utils.runs import mark_latest

ConfigMaker = Callable[..., Config]


def test_each_session_has_a_folder_of_its_own(tmp_path: Path, make_config: ConfigMaker) -> None:
    config = make_config(tmp_path, tmp_path)
    folders = {open_session(config).run_dir for _ in range(3)}
    assert len(folders) == 3
    assert all(folder.parent == tmp_path / "runs" for folder in folders)


def test_settings_read_back_to_the_same_config(tmp_path: Path, make_config: ConfigMaker) -> None:
    config = make_config(tmp_path, tmp_path, seed=7, class_names=("B", "A"), positive_class="A")
    session = open_session(config)
    write_settings(session, {"color": "grey"})
    again = reopen_session(session.run_dir).config
    assert all(getattr(again, f.name) == getattr(config, f.name) for f in fields(config))
    here = {"started_in": str(Path.cwd())}
    assert read_provenance(session.run_dir) == {"color": "grey"} | here


def test_provenance_is_no_setting(tmp_path: Path, make_config: ConfigMaker) -> None:
    session = open_session(make_config(tmp_path, tmp_path))
    write_settings(session, {"num_rejected": 3})
    settings = json.loads((session.run_dir / "config.json").read_text(encoding="utf-8"))
    assert set(settings) - {"provenance"} == {f.name for f in fields(Config)}


def test_run_without_provenance_says_what_to_do(tmp_path: Path, make_config: ConfigMaker) -> None:
    session = open_session(make_config(tmp_path, tmp_path))
    (session.run_dir / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RunError, match="medimg train --config"):
        read_provenance(session.run_dir)


@pytest.mark.parametrize(("trained", "is_warned"), [(0, False), (1, True), (None, False)])
def test_other_number_of_threads_than_in_training_is_a_warning(
    trained: int | None, is_warned: bool, tmp_path: Path, make_config: ConfigMaker
) -> None:
    session = open_session(make_config(tmp_path, tmp_path, device="cpu"))
    now = count_threads(session)
    assert now == torch.get_num_threads()
    then = None if trained is None else now + trained
    write_settings(session, {"num_threads": then})
    warn_of_machine(session)
    log = session.run_dir / "log.txt"
    said = log.read_text(encoding="utf-8") if log.is_file() else ""
    assert (f"OMP_NUM_THREADS={then}" in said) == is_warned
    assert f"{now} are used now" in said or not is_warned


@pytest.mark.parametrize(("trained", "is_warned"), [("fp32", False), ("bf16", True), (None, False)])
def test_another_precision_than_in_training_is_a_warning(
    trained: str | None, is_warned: bool, tmp_path: Path, make_config: ConfigMaker
) -> None:
    session = open_session(make_config(tmp_path, tmp_path, device="cpu", precision="fp32"))
    write_settings(session, {"precision": trained})
    warn_of_machine(session)
    log = session.run_dir / "log.txt"
    said = log.read_text(encoding="utf-8") if log.is_file() else ""
    assert ("trained in bf16, but this machine computes in fp32" in said) == is_warned


def test_log_says_which_run_latest_is(
    tmp_path: Path, make_config: ConfigMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    session = open_session(make_config(tmp_path, tmp_path))
    write_settings(session, {})
    mark_latest(session.run_dir)
    reopen_session(session.run_dir)
    assert "latest" not in capsys.readouterr().out
    reopen_session("latest", output_dir=tmp_path)
    assert f"latest: {session.run_dir}" in capsys.readouterr().out.replace("\n", "")


def test_relative_paths_are_those_of_the_folder_of_the_first_command(
    tmp_path: Path, make_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, other = tmp_path / "start", tmp_path / "other"
    (start / "data").mkdir(parents=True)
    other.mkdir()
    monkeypatch.chdir(start)
    session = open_session(make_config(Path("data"), Path("outputs")))
    write_settings(session, {})
    run = session.run_dir.resolve()
    monkeypatch.chdir(other)
    config = reopen_session(run).config
    assert (config.data_dir, config.output_dir) == (start / "data", start / "outputs")
    moved = run.rename(other / "run")
    assert reopen_session(moved).cache_dir == start / "outputs" / "cache"
    assert list(other.iterdir()) == [moved]
    (start / "data").rename(other / "data")  # the whole project was moved
    assert reopen_session(moved).config.data_dir == Path("data")


def test_unknown_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nothing"):
        reopen_session("nothing", output_dir=tmp_path)


def test_device_that_is_not_there_is_refused(tmp_path: Path, make_config: ConfigMaker) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ConfigError, match="GPU"):
        open_session(make_config(tmp_path, tmp_path, device="cuda"))
    assert not (tmp_path / "runs").exists()


def test_single_process_is_main_and_whole(tmp_path: Path, make_config: ConfigMaker) -> None:
    session = open_session(make_config(tmp_path, tmp_path, device="cpu", precision="fp32"))
    assert session.is_main
    assert session.shard == (0, 1)
    assert session.device.type == "cpu"
    assert session.precision == "fp32"


def test_a_run_folder_that_is_not_shared_is_refused(
    tmp_path: Path, make_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(output_dir: Path, project: str) -> Path:
        return tmp_path / "on another machine"

    monkeypatch.setattr(session_room, "create_run_folder", elsewhere)
    with pytest.raises(RunError, match="all machines share"):
        open_session(make_config(tmp_path, tmp_path))


def test_cache_lies_where_it_is_told(tmp_path: Path, make_config: ConfigMaker) -> None:
    default = open_session(make_config(tmp_path, tmp_path))
    chosen = open_session(make_config(tmp_path, tmp_path, cache_dir=tmp_path / "elsewhere"))
    assert default.cache_dir == tmp_path / "cache"
    assert chosen.cache_dir == tmp_path / "elsewhere"

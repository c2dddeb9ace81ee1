"""Names become keyed hashes; the key is made once, is the user's alone and lies in no run."""

import hashlib
import hmac
import stat
from pathlib import Path

import pytest

from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.utils.pseudonyms import KEY_VARIABLE, hide_name, load_key


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


def test_a_name_is_hidden_by_hmac_sha256() -> None:
    expected = hmac.new(b"key", b"12345", hashlib.sha256).hexdigest()
    assert expected.startswith(hide_name("12345", b"key")) and len(hide_name("1", b"k")) == 16
    assert len({hide_name(str(n), b"key") for n in range(1000)}) == 1000


def test_the_key_is_made_once_and_is_the_users_alone(own_home: Path) -> None:
    key, file = load_key(), own_home / "medimg" / "group_key"
    assert len(key) == 64 and file.read_bytes() == key == load_key()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["group_key"]


def test_the_environment_comes_first(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "mine")
    assert load_key() == b"mine"
    assert not (own_home / "medimg").exists()


def test_a_key_that_cannot_be_kept_is_told(own_home: Path) -> None:
    (own_home / "medimg").write_text("a file in the way")
    with pytest.raises(ConfigError, match=f"set the environment variable {KEY_VARIABLE}"):
        load_key()


def test_an_empty_key_is_refused(own_home: Path) -> None:
    (own_home / "medimg").mkdir()
    (own_home / "medimg" / "group_key").touch()
    with pytest.raises(ConfigError, match="is empty"):
        load_key()

"""Names become keyed hashes; the key is made once, is the user's alone and lies in no run."""

import hashlib
import hmac
import stat
from pathlib import Path

import pytest

from medimg_baseline_cls.errors import ConfigError
from medimg_baseline_cls.utils.pseudonyms import (
    KEY_VARIABLE,
    NameHider,
    Pseudonyms,
    hide_name,
    load_key,
)


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


def test_a_key_that_others_could_read_is_closed_to_them(own_home: Path) -> None:
    (own_home / "medimg").mkdir()
    file = own_home / "medimg" / "group_key"
    file.write_text("secret")
    file.chmod(0o644)
    assert load_key() == b"secret"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_names_of_images_leave_a_sentence_and_the_rest_stays() -> None:
    names = Pseudonyms(b"key")
    paths = ["train/A/Doe Jane.png", "train/A/x_Doe Jane.png", "test/B/DOE_JOHN", "7", "a"]
    hider = NameHider(names, paths)
    text = hider.text("7 files, such as train/A/Doe Jane.png, x_Doe Jane.png and DOE_JOHN: a copy")
    first, second, third = map(names.image, paths[:3])
    assert text == f"7 files, such as {first}, {second} and {third}: a copy"
    rule = r"pass --group-regex '(?:^|/)(\d+)[_ -][^/]*$' to confirm, or --group-regex none"
    assert hider.text(rule) == rule
    assert hider.text("masks such as train/A/Mask_of-Doe.png left out") == (
        "masks such as … left out"
    )


def test_without_pseudonyms_every_name_stays() -> None:
    hider = NameHider(None, ["a/Doe.png"])
    assert hider.text("see a/Doe.png") == "see a/Doe.png"
    assert (hider.image("a/Doe.png"), hider.group("Doe")) == ("a/Doe.png", "Doe")

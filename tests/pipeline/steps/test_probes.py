"""Probes run elsewhere: one that raises, crashes or hangs is a finding, and the others remain."""

import json
import os

import pytest
from PIL import Image
from tests import sabotaged

from medimg_baseline_cls.phantom.image_folder import write_phantoms
from medimg_baseline_cls.pipeline.steps import probes
from medimg_baseline_cls.pipeline.steps.library_checks import check_codecs, check_imports
from medimg_baseline_cls.pipeline.steps.probe_child import list_probes
from medimg_baseline_cls.pipeline.steps.probes import Probed, read_lines, run_probes


@pytest.fixture
def shim(tmp_path, monkeypatch):
    """A folder of modules that come before those that are installed."""
    paths = [str(tmp_path / "shim"), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    (tmp_path / "shim").mkdir()
    return tmp_path / "shim"


@pytest.fixture
def small_group(monkeypatch, shim):
    """Let the child run three imports of shims instead of the real probes."""
    (shim / "sitecustomize.py").write_text(
        "import importlib.abc, importlib.util, sys\n"
        "class Finder(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'medimg_baseline_cls.pipeline.steps.probe_child':\n"
        f"            return importlib.util.spec_from_file_location(name, {str(shim / 'c.py')!r})\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    (shim / "c.py").write_text(
        "import json, os, signal, sys, time\n"
        "def send(**content): print(json.dumps(content), flush=True)\n"
        "if __name__ == '__main__':\n"
        "    group = sys.argv[1]\n"
        "    send(name='process ' + group, seconds=0)\n"
        "    send(name='first', seconds=1.5, found={'a': 1})\n"
        "    send(name='second', begin=True)\n"
        "    if group == 'crash': os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    if group == 'hang': time.sleep(600)\n"
        "    if group == 'exit': sys.exit(7)\n"
        "    send(name='second', seconds=0, error='ValueError: no')\n"
    )


@pytest.mark.parametrize(
    ("group", "said"),
    [
        ("raise", "ValueError: no"),
        ("crash", "its process crashed (SIGSEGV)"),
        ("exit", "its process ended with code 7"),
        ("hang", "it does not end within 3 s"),
    ],
)
def test_a_probe_that_fails_is_named_and_the_others_remain(small_group, group, said):
    results = run_probes([group], {}, seconds=3)
    assert results["first"] == Probed({"a": 1}, "", 1.5)
    assert results["second"].error == said
    assert results[f"process {group}"].error == ""


def test_a_process_that_does_not_start_is_a_finding(monkeypatch):
    monkeypatch.setattr(probes, "_MODULE", "medimg_baseline_cls.no_such_module")
    results = run_probes(["torch"], {}, seconds=20)
    assert results["process torch"].error == "its process ended with code 1"
    (line,) = check_imports(results)
    assert line.status == "error"


def test_what_fails_in_one_of_two_processes_is_kept(monkeypatch):
    texts = {"a": '{"name": "import numpy", "seconds": 0, "error": "no"}', "b": ""}
    texts["b"] = '{"name": "import numpy", "seconds": 0, "found": {}}'
    monkeypatch.setattr(probes, "_start", lambda group, _: FakeProcess(texts[group]))
    for order in ("ab", "ba"):
        assert run_probes(order, {}, seconds=5)["import numpy"].error == "no"


class FakeProcess:
    """A process that has written a text."""

    returncode = 0

    def __init__(self, text):
        self.text = text

    def communicate(self, timeout=None):
        return self.text, None

    def kill(self):
        pass


def test_lines_that_are_cut_off_or_foreign_are_skipped():
    begun = json.dumps({"name": "a", "begin": True})
    text = f'hello\n{begun}\n{{"name": "a", "fou'
    assert read_lines(text, end="it crashed") == {"a": Probed(error="it crashed")}


def test_the_images_of_a_healthy_environment_are_read(tmp_path):
    before = sorted(tmp_path.rglob("*"))
    results = run_probes(["images"], {}, seconds=60)
    assert {name: result.error for name, result in results.items() if result.error} == {}
    assert [line.status for line in check_codecs(results) if line.name == "codecs"] == ["ok"]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("name", "line"), [("no_codec", "codecs"), ("no_dicom_codec", "dicom")])
def test_a_missing_codec_is_named(monkeypatch, tmp_path, name, line):
    made = getattr(sabotaged, name)(tmp_path)
    for key, value in sabotaged.environment(made, tmp_path).items():
        monkeypatch.setenv(key, value)
    found = {c.name: c for c in check_codecs(run_probes(["images"], {}, seconds=60))}
    assert found[line].status == ("error" if name == "no_codec" else "warning")
    assert "JPEG" in found[line].found
    assert "pip install" in found[line].advice


@pytest.mark.parametrize("kind", ["broken", "crashing"])
def test_a_torchvision_that_does_not_load_is_named(monkeypatch, tmp_path, kind):
    made = getattr(sabotaged, f"{kind}_torchvision")(tmp_path)
    for key, value in sabotaged.environment(made, tmp_path).items():
        monkeypatch.setenv(key, value)
    (tmp_path / "shim" / "torch").mkdir()  # the real one takes seconds
    (tmp_path / "shim" / "torch" / "__init__.py").write_text("__version__ = '9'\n")
    found = {c.name: c for c in check_imports(run_probes(["torch"], {}, seconds=60))}
    assert found["torchvision"].status == "error"
    said = "crashed (SIGSEGV)" if kind == "crashing" else "operator torchvision::nms"
    assert said in found["torchvision"].found
    assert "torch torchvision" in found["torchvision"].advice


def test_offline_mode_is_seen_and_nothing_is_asked(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    results = run_probes(["hub"], {}, seconds=60)
    assert results["cache"].found["is_offline"] is True
    assert results["cache"].found["place"] == str(tmp_path)
    assert results["hub"].found == {"is_reachable": False}


def look_at(data):
    return list_probes("images", {"data": str(data)})["data"]()


def test_a_data_set_is_described_and_its_first_image_decoded(tmp_path):
    data = tmp_path / "data"
    write_phantoms(data, num_train=4, num_test=2, image_size=64, seed=0)
    before = sorted(data.rglob("*"))
    found = look_at(data)
    assert found["num_images"] == 6
    assert found["class_names"] == ["NORMAL", "PNEUMONIA"]
    assert found["width"] == 64
    assert sorted(data.rglob("*")) == before


def test_a_single_image_is_decoded(tmp_path):
    Image.new("L", (30, 20)).save(tmp_path / "a.png")
    assert look_at(tmp_path / "a.png") == {
        "path": "a.png",
        "width": 30,
        "height": 20,
        "mode": "L",
    }

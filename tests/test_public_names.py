"""The public surface: these names and no others, whatever was imported before."""

import subprocess
import sys

import pytest

import medimg_baseline_cls

PUBLIC = [
    "Callback",
    "Config",
    "Tracking",
    "check",
    "compare",
    "cross_validate",
    "demo",
    "demo_volumes",
    "doctor",
    "evaluate",
    "explain",
    "external",
    "external_sites",
    "external_sweep",
    "init",
    "judge",
    "list_cache",
    "list_runs",
    "predict",
    "prune_cache",
    "report",
    "resume",
    "resume_cross_validation",
    "resume_run",
    "resume_seeds",
    "resume_sweep",
    "run",
    "run_seeds",
    "sweep",
    "track",
    "train",
    "write_phantoms",
]


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_public_names_are_these():
    assert sorted(medimg_baseline_cls.__all__) == PUBLIC
    assert set(PUBLIC) <= set(dir(medimg_baseline_cls))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="tarin"):
        medimg_baseline_cls.tarin  # noqa: B018


def test_importing_the_package_costs_nothing():
    code = (
        "import sys; before = set(sys.modules); import medimg_baseline_cls;"
        "print(*(set(sys.modules) - before))"
    )
    loaded = {name.split(".")[0] for name in run_python(code).split()}
    assert loaded <= {
        "medimg_baseline_cls",
        "typing",
        "collections",
        "types",
        *sys.stdlib_module_names,
    }


def test_a_command_stays_a_command_after_its_file_and_the_rooms_are_imported():
    code = """
import medimg_baseline_cls
import medimg_baseline_cls.pipeline.commands.check
import medimg_baseline_cls.reporting
from medimg_baseline_cls import check, report
print(check.__name__, report.__name__)
"""
    assert run_python(code) == "check report"

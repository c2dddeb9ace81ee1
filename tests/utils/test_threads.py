"""The variables that decide how idle threads wait: set in time, and never over the user's own."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

OURS = {"GOMP_SPINCOUNT": "10000", "KMP_BLOCKTIME": "1", "OPENBLAS_NUM_THREADS": "1"}
STARTED = """
import json, os, sys
before = dict(os.environ)
from medimg_baseline_cls.cli import main
main(["--version"])
changed = {k: v for k, v in os.environ.items() if before.get(k) != v}
"""


def run_fresh(script: str, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a script in a Python that inherits none of these variables but those given."""
    rest = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OMP_", "GOMP_", "KMP_", "OPENBLAS_", "GOTO_"))
    }
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**rest, "PYTHONPATH": os.pathsep.join(sys.path), **variables},
        capture_output=True,
        text=True,
        check=True,
    )


def changed_by_start(variables: Mapping[str, str], *, first: str = "") -> dict[str, str]:
    """Return what the start of a command changes in the environment."""
    script = first + STARTED + "print(json.dumps(changed))"
    return json.loads(run_fresh(script, variables).stdout.splitlines()[-1])


def without(*names: str) -> dict[str, str]:
    return {name: value for name, value in OURS.items() if name not in names}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, OURS),
        ({"OMP_NUM_THREADS": "3"}, OURS),
        ({"GOMP_SPINCOUNT": "7"}, without("GOMP_SPINCOUNT")),
        ({"KMP_BLOCKTIME": "infinite"}, without("KMP_BLOCKTIME")),
        # libgomp's count would win over the policy that the user has asked for.
        ({"OMP_WAIT_POLICY": "active"}, without("GOMP_SPINCOUNT", "KMP_BLOCKTIME")),
        ({"OPENBLAS_NUM_THREADS": "4"}, without("OPENBLAS_NUM_THREADS")),
        ({"GOTO_NUM_THREADS": "4"}, without("OPENBLAS_NUM_THREADS")),
    ],
)
def test_start_of_a_command_sets_what_the_user_has_not(
    variables: dict[str, str], expected: dict[str, str]
) -> None:
    assert changed_by_start(variables) == expected


def test_library_that_is_loaded_already_is_not_said_to_be_changed() -> None:
    assert changed_by_start({}, first="import numpy") == without("OPENBLAS_NUM_THREADS")


def test_import_of_the_package_changes_nothing() -> None:
    script = """
import os
before = dict(os.environ)
import medimg_baseline_cls
medimg_baseline_cls.Config()
print(dict(os.environ) == before)
"""
    assert run_fresh(script, {}).stdout.strip() == "True"


def test_openblas_and_torch_take_what_was_set() -> None:
    script = (
        STARTED
        + """
import numpy, scipy.linalg, torch
from threadpoolctl import threadpool_info
blas = [pool["num_threads"] for pool in threadpool_info() if pool["internal_api"] == "openblas"]
from medimg_baseline_cls.utils.env import collect_environment
report = collect_environment(["medimg"])
print(json.dumps([blas, torch.get_num_threads(), report["variables"]]))
"""
    )
    blas, threads, told = json.loads(
        run_fresh(script, {"OMP_NUM_THREADS": "2"}).stdout.splitlines()[-1]
    )
    assert set(blas) <= {1}
    assert threads == 2
    assert told.items() >= {**OURS, "OMP_NUM_THREADS": "2"}.items()


def test_openmp_of_torch_reads_the_spin_count() -> None:
    torch = importlib.util.find_spec("torch")
    assert torch is not None
    assert torch.origin is not None
    found = [*(Path(torch.origin).parent / "lib").glob("libgomp*.so*")]
    if not found:
        pytest.skip("this build of torch has another OpenMP")
    script = STARTED + f"import ctypes; ctypes.CDLL({str(found[0])!r})"
    said = run_fresh(script, {"OMP_DISPLAY_ENV": "verbose"}).stderr
    assert "GOMP_SPINCOUNT = '10000'" in said

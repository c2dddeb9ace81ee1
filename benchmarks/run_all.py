"""Asks every question of speed one after the other and writes docs/benchmarks/speed.md.

make bench IMAGES=chest_xray ORIGINALS=chest_xray_fullsize
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from harness import RESULTS, RIVALS, ROOT, tell

from medimg_baseline_cls.utils.log import format_table

QUESTIONS = (
    "cold_start",
    "maps_speed",
    "stall",
    "training_speed",
    "whole_job",
    "volume_speed",
    "evaluation_speed",
    "precision_seeds",
    "growth",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="real images; none: phantoms")
    parser.add_argument("--originals", type=Path, help="real images of full size; none: phantoms")
    parser.add_argument("--only", nargs="+", choices=QUESTIONS, default=QUESTIONS)
    options = parser.parse_args()
    start = time.perf_counter()
    for name in options.only:
        words: list[str] = []
        if options.data and name in ("training_speed", "whole_job", "precision_seeds"):
            words += ["--data", str(options.data.resolve())]
        if options.originals and name == "whole_job":
            words += ["--originals", str(options.originals.resolve())]
        tell(f"\n== {name} ({(time.perf_counter() - start) / 60:.0f} min)")
        # The rivals' Python sees both: its own packages, and those that medimg runs on.
        python = RIVALS / "python" if name == "maps_speed" else Path(sys.executable)
        variables = os.environ | {"PYTHONPATH": str(ROOT / "src")}
        script = ROOT / "benchmarks" / f"{name}.py"
        subprocess.run([python, script, *words], check=True, env=variables)
    write_page()
    tell(f"\n{RESULTS / 'speed.md'} ({(time.perf_counter() - start) / 60:.0f} min)")


def write_page() -> None:
    """Put all answers on one page, the ratios first."""
    found = [
        json.loads(path.read_text())
        for path in (RESULTS / f"{name}.json" for name in QUESTIONS)
        if path.is_file()
    ]
    ratios = [
        [answer["title"], name, f"{entry['found']:.3g}", entry["wanted"]]
        for answer in found
        for name, entry in answer["ratios"].items()
    ]
    lines = [
        "# Speed",
        "",
        "Made by `make bench`: programs that took turns on one machine, for each question. A",
        "number with a range in brackets is a median, one without is a single measurement. What",
        "was tried for the targets, and why some are missed:",
        "[decision 0018](../decisions/0018-speed.md).",
        "",
        *_table(["question", "ratio or value", "found", "wanted"], ratios),
        "",
        *_describe_machine(found[-1]["machine"]),
    ]
    for name, answer in zip(
        [n for n in QUESTIONS if (RESULTS / f"{n}.json").is_file()], found, strict=True
    ):
        lines += ["", f"## {answer['title']}", "", f"![bars]({name}.png)", ""]
        lines += [*_table(answer["header"], answer["rows"]), ""]
        lines += [f"- {note}" for note in answer["notes"]]
        processor = answer["machine"]["processor"].get("model", "")
        lines += [f"- `{answer['command']}`, {answer['date']}, {processor}"]
    (RESULTS / "speed.md").write_text("\n".join(lines) + "\n")
    tell("\n".join(format_table(["question", "value", "found", "wanted"], ratios)))


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    return [
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def _describe_machine(machine: dict[str, Any]) -> list[str]:
    versions = machine["packages"] | machine["rivals"]
    processor = ", ".join(f"{k} {v}" for k, v in machine["processor"].items() if k != "flags")
    return [
        "## Machine and versions",
        "",
        f"- {processor}; {machine['memory_gib']} GiB; {machine['system']}",
        f"- Python {machine['python']}, "
        + ", ".join(f"{name} {number}" for name, number in versions.items()),
    ]


if __name__ == "__main__":
    main()

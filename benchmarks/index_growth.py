"""Time and memory of listing, indexing and splitting a table, from 10,000 to 1,000,000 rows.

The files of the table need not exist: what reading them would find is made up. Each size runs
in a process of its own, so that its peak memory is its own too.

    python benchmarks/index_growth.py
"""

import argparse
import csv
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from medimg_baseline_cls.data.index import index_images
from medimg_baseline_cls.data.pixels.cache import FileFacts
from medimg_baseline_cls.data.splitting.split import SplitSettings, split_images
from medimg_baseline_cls.data.tables.labels import LabelRule
from medimg_baseline_cls.data.tables.table import TableSettings, list_table
from medimg_baseline_cls.utils.log import format_table

SIZES = (10_000, 100_000, 1_000_000)
IMAGES_PER_GROUP = 10 / 3  # 300,000 patients of a million images


def write_table(path: Path, num_rows: int) -> None:
    rng = random.Random(0)
    num_groups = round(num_rows / IMAGES_PER_GROUP)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "patient", "sex"])
        for number in range(num_rows):
            group = number if number < num_groups else rng.randrange(num_groups)
            label = "sick" if group % 7 == 0 else "well"
            writer.writerow([f"images/{number:07d}.png", label, f"p{group:06d}", rng.choice("FM")])


def measure(path: Path) -> dict[str, float]:
    settings = TableSettings(
        path_column="path",
        labels=LabelRule(columns=("label",)),
        group_column="patient",
        subgroup_columns=("sex",),
    )
    start = time.perf_counter()
    listing = list_table(path, root=path.parent, settings=settings)
    listed = time.perf_counter()
    facts = (
        FileFacts(file.path, f"{row:064x}", 224, 224, "L", None, row)
        for row, file in enumerate(listing.files)
    )
    index = index_images(listing, facts)
    indexed = time.perf_counter()
    index_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    split_images(index.records, settings=SplitSettings(), class_names=listing.class_names)
    return {
        "rows": len(listing.files),
        "list": listed - start,
        "index": indexed - listed,
        "split": time.perf_counter() - indexed,
        "index_peak": index_peak,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, help="measure this table alone, in this process")
    table = parser.parse_args().table
    if table is not None:
        sys.stdout.write(json.dumps(measure(table)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            path = Path(folder) / f"{size}.csv"
            write_table(path, size)
            command = [sys.executable, __file__, "--table", str(path)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found = json.loads(done.stdout)
            rows.append(
                [
                    f"{found['rows']:,}",
                    f"{found['list'] + found['index']:.2f}",
                    f"{found['index_peak']:.2f}",
                    f"{found['split']:.2f}",
                    f"{found['peak']:.2f}",
                ]
            )
    header = ("rows", "list and index, s", "peak then, GiB", "split, s", "peak, GiB")
    sys.stdout.write("\n".join(format_table(header, rows)) + "\n")


if __name__ == "__main__":
    main()

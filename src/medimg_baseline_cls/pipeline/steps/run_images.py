"""The images of a finished run as the audit measures them, from its files or from its pixel cache.

The data of a run may be elsewhere by now. What is in the cache is enough for pixels; where that is
gone too, there is a reason instead.
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg_baseline_cls.audit.images import look_at_file
from medimg_baseline_cls.audit.pixel_measures import Measures, measure_pixels
from medimg_baseline_cls.audit.shortcut_classifiers import ControlFeatures, gather_features
from medimg_baseline_cls.data.pixels.cache import find_array
from medimg_baseline_cls.data.splitting.split import read_split
from medimg_baseline_cls.errors import ConfigError, DataError, RunError
from medimg_baseline_cls.pipeline.steps.listing import find_root
from medimg_baseline_cls.pipeline.steps.prepare import pixel_settings, reopen_data
from medimg_baseline_cls.pipeline.steps.session import Session, read_provenance
from medimg_baseline_cls.schema import Split


@dataclass(frozen=True)
class MeasuredImages:
    """Images and what is remembered of each.

    Attributes:
        split: the images.
        measures: of each, in this order; None where no pixels were found.
        num_bytes: the size of each file; empty where a file is not there.
        reason: why there are no measures; "" if there are.
    """

    split: Split
    measures: Measures | None
    num_bytes: tuple[int, ...] = ()
    reason: str = ""

    def pick(self, rows: NDArray[np.int64]) -> "MeasuredImages":
        """Return some of the images, in this order."""
        records = tuple(self.split.records[row] for row in rows)
        measures = self.measures
        if measures is not None:
            names = [field.name for field in fields(Measures)]
            measures = Measures(**{name: getattr(measures, name)[rows] for name in names})
        num_bytes = tuple(self.num_bytes[row] for row in rows) if self.num_bytes else ()
        split = replace(self.split, records=records)
        return replace(self, split=split, measures=measures, num_bytes=num_bytes)

    def features(self, *, has_bytes: bool) -> ControlFeatures:
        """Return what the controls see of the images, with the sizes of files or without."""
        assert self.measures is not None, "only asked for where there are measures"
        return gather_features(
            self.split.records,
            self.measures,
            rows=np.arange(len(self.split.records), dtype=np.int64),
            num_bytes=self.num_bytes if has_bytes else (),
        )


def measure_run(session: Session) -> MeasuredImages:
    """Measure the images of a finished run."""
    provenance = read_provenance(session.run_dir)
    split = read_split(
        session.run_dir / "split.csv",
        tuple(provenance["class_names"]),
        task=provenance.get("task", "multiclass"),
    )
    settings = pixel_settings(session.config, provenance["color"])
    digests = [record.sha256 for record in split.records]
    found = find_array(session.cache_dir, digests, settings=settings)
    if found is None:
        try:
            data = reopen_data(session, provenance)
        except (ConfigError, DataError, RunError) as error:
            return MeasuredImages(split, None, reason=str(error.args[0]))
        found = data.pixels, data.cache_rows
    return measure_images(session, split, pixels=found[0], rows=found[1])


def measure_images(
    session: Session, split: Split, *, pixels: NDArray[Any], rows: NDArray[np.int64]
) -> MeasuredImages:
    """Measure images, and look at the sizes of their files.

    Args:
        session: with the place of the files.
        split: the images.
        pixels: shape (M, C, S, S).
        rows: of each image in `pixels`.
    """
    measures = measure_pixels(pixels, rows=rows, progress=session.log.progress)
    root: Path = find_root(session.config)
    sizes = tuple(look_at_file(root / record.path).num_bytes for record in split.records)
    return MeasuredImages(split, measures, sizes if all(sizes) else ())

"""Turn images of slices, in the order of their names, into one volume: PNG, JPEG, TIFF and others.

Nothing says where the patient is in them: the first is taken as the most inferior, and each is
taken as it is. Refused: a single image, and images of several sizes.
"""

from collections import Counter
from dataclasses import replace

import numpy as np

from medimg_baseline_cls.data.read import decode_image, read_header
from medimg_baseline_cls.data.read.image import Geometry, Header
from medimg_baseline_cls.data.read.packed import unpack_files
from medimg_baseline_cls.data.read.slice_order import AS_STORED
from medimg_baseline_cls.data.read.volume import Volume, turn_volume
from medimg_baseline_cls.errors import BadImageError

_ORDER = "by name, the first as the most inferior, each image as it is"


def decode_volume(data: bytes) -> Volume:
    """Decode images into one volume; black and white are those of the deepest of them."""
    files = unpack_files(data)
    _read_headers(files)
    slices = [decode_image(file, color="grey").pixels for file in files]
    top = max(np.iinfo(image.dtype).max for image in slices)
    values = np.stack(
        [image.astype(np.float32) * (top // np.iinfo(image.dtype).max) for image in slices]
    )
    return turn_volume(values, AS_STORED, full_range=(0.0, float(top)))


def read_volume_header(data: bytes) -> Header:
    """Read depth and size of the slices, which must be the same in all."""
    headers = _read_headers(unpack_files(data))
    return replace(
        headers[0],
        is_deep=any(header.is_deep for header in headers),
        is_color=False,
        geometry=Geometry(len(headers), None, ""),
        remarks=(("order", _ORDER),),
    )


def _read_headers(files: list[bytes]) -> list[Header]:
    headers = [read_header(file) for file in files]
    if len(headers) < 2:
        raise BadImageError("the folder has 1 image, expected the slices of a volume")
    sizes = Counter((header.width, header.height) for header in headers)
    if len(sizes) > 1:
        (most, _), (other, count), *_ = sizes.most_common()
        raise BadImageError(
            f"the slices are not of one size: {count} of {len(headers)} are {other[0]} x "
            f"{other[1]}, others {most[0]} x {most[1]}; keep those of one volume in the folder"
        )
    return headers

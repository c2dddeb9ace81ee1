"""Measure how many phantom radiographs one core draws and writes per second.

python benchmarks/phantom_speed.py [--image-size 224] [--num-images 300]
"""

import argparse
import tempfile
import time
from pathlib import Path

from medimg_baseline_cls.phantom.image_folder import make_phantom, write_phantoms


def main() -> None:
    """Print the rate of drawing alone and of the whole data set on disk."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--num-images", type=int, default=300)
    options = parser.parse_args()
    size, count = options.image_size, options.num_images
    start = time.process_time()
    make_phantom(0, 0, is_positive=True, image_size=size)
    print(f"textures and first image  {time.process_time() - start:8.3f} s, once per process")
    start = time.process_time()
    for index in range(count):
        make_phantom(0, index, is_positive=index % 5 < 3, image_size=size)
    rate = count / (time.process_time() - start)
    print(f"drawing                   {rate:8.0f} images per second of one core")
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        write_phantoms(
            Path(folder) / "set", num_train=count - 20, num_test=20, image_size=size, seed=0
        )
    rate = count / (time.process_time() - start)
    print(f"drawing and writing PNG   {rate:8.0f} images per second of one core")


if __name__ == "__main__":
    main()

"""Runs the command line as `python -m medimg_baseline_cls`, which is how torchrun starts it."""

import sys

from medimg_baseline_cls.cli import main

if __name__ == "__main__":
    sys.exit(main())

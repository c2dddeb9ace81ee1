"""Make the pictures of README and gallery from the run of a demo: small PNG files, phantoms only.

    medimg demo && python docs/pictures.py outputs/runs/latest [outputs/audits/NAME]

The first screen of report.html, and of the audit if one is given, needs Chromium.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

IMAGES = Path(__file__).resolve().parent / "images"
FIGURES = {  # width in pixels
    "roc": 440,
    "precision_recall": 440,
    "calibration": 760,
    "decision_curve": 440,
    "training": 760,
}
WIDTH, NUM_COLORS = 760, 128
SCREEN = (1280, 900)


def shrink(source: Path, target: Path, *, width: int = WIDTH, colors: int = NUM_COLORS) -> None:
    """Write a picture at most `width` pixels wide, with few colors."""
    with Image.open(source) as image:
        plain = Image.new("RGB", image.size, "white")
        plain.paste(image, mask=image.getchannel("A") if image.mode == "RGBA" else None)
    if plain.width > width:
        plain = plain.resize(
            (width, round(plain.height * width / plain.width)), Image.Resampling.LANCZOS
        )
    plain.quantize(colors, dither=Image.Dither.NONE).save(target, optimize=True)


def photograph(page: Path, target: Path, *, height: int = SCREEN[1]) -> None:
    """Write the first screen of an HTML page."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit(f"Chromium is not installed: {target} stays as it is.")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        flags = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--screenshot={shot}"]
        size = f"--window-size={SCREEN[0]},{height}"
        command = [browser, *flags, size, page.resolve().as_uri()]
        subprocess.run(command, check=True, capture_output=True)
        shrink(shot, target, width=SCREEN[0], colors=128)


def main(run: Path, audit: Path | None = None) -> None:
    """Write every picture into docs/images."""
    for name, width in FIGURES.items():
        shrink(run / "figures" / f"{name}.png", IMAGES / f"{name}.png", width=width)
    shrink(run / "figures" / "train_batch.png", IMAGES / "train_batch.png", width=480, colors=16)
    panels = sorted((run / "gradcam" / "FN").glob("*.png"))
    shrink(panels[0], IMAGES / "panel.png")
    photograph(run / "report.html", IMAGES / "report.png")
    if audit is not None:
        photograph(audit / "audit.html", IMAGES / "audit.png", height=760)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

"""Where the panels of a run's mistakes are: one folder per kind of map, and which one is shown."""

import shutil
from pathlib import Path

from medimg_baseline_cls.interpret.methods import DEFAULT, METHODS, CamMethod, name_folder
from medimg_baseline_cls.reporting.content import KINDS
from medimg_baseline_cls.utils.files import write_json
from medimg_baseline_cls.utils.plugins import PREFIX

_SHOWN = "explained.json"  # not there: Grad-CAM is shown


def open_panel_folder(run_dir: Path, name: str, *, method: CamMethod) -> Path:
    """Return an empty folder for the panels of a kind of map, which the report shows from now on.

    Those of other kinds stay, to be compared.
    """
    folder = run_dir / name_folder(name)
    for kind in KINDS:
        # Panels of an earlier evaluation may show images that are not mistakes any more.
        shutil.rmtree(folder / kind, ignore_errors=True)
        (folder / kind).mkdir(parents=True)
    if method is METHODS[DEFAULT]:
        (run_dir / _SHOWN).unlink(missing_ok=True)
        return folder
    shown = {"label": method.label, "shows": method.shows, "is_of_class": method.is_of_class}
    write_json(run_dir / _SHOWN, {"method": name, "folder": folder.name, **shown})
    return folder


def list_panel_folders(run_dir: Path) -> list[Path]:
    """Return the folders with panels of mistakes, of all kinds of maps."""
    own = {name_folder(name) for name in METHODS}
    folders = (folder for folder in sorted(run_dir.iterdir()) if folder.is_dir())
    return [f for f in folders if f.name in own or f.name.startswith(name_folder(PREFIX))]

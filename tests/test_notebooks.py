"""The notebooks: thin drivers, paired with their text, and they run."""

from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NAMES = ("01_train", "02_eval_gradcam")
SMALLER = {
    "num_train=600": "num_train=60",
    "num_test=200": "num_test=24",
    '"finetune_epochs": 8': '"finetune_epochs": 1, "batch_size": 16',
    "image_size=96": "image_size=64",
    '"image_size": 96': '"image_size": 64',
}


def code_of(notebook: nbformat.NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("name", NAMES)
def test_notebook_and_text_are_the_same(name: str) -> None:
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    text = jupytext.read(FOLDER / f"{name}.py")
    assert code_of(notebook) == code_of(text)
    assert all(not cell.get("outputs") for cell in notebook.cells)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_notebooks_run_in_order(tmp_path: Path) -> None:
    for name in NAMES:
        notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
        for cell in notebook.cells:
            for old, new in SMALLER.items():
                cell.source = cell.source.replace(old, new)
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": tmp_path}}).execute()
    (run,) = [p for p in (tmp_path / "outputs" / "runs").iterdir() if not p.is_symlink()]
    assert (run / "report.html").is_file()

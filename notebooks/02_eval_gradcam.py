# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Evaluate a run and look at its mistakes
#
# Thresholds are chosen on VAL and applied unchanged to TEST; the most confident false
# positives and false negatives are shown with Grad-CAM. The run folder remembers its data
# and settings, so its name is all that is needed.

# %%
from pathlib import Path

from medimg_baseline_cls import evaluate, explain, report

run = "latest"  # or the path of a run folder
output_dir = Path("outputs")

# %% [markdown]
# ## Operating points from VAL, metrics on TEST

# %%
result = evaluate(run, output_dir=output_dir)
result.summary["headline"]

# %%
from IPython.display import Image, display

for name in ("roc", "precision_recall", "confusion", "score_histogram"):
    display(Image(result.run_dir / "figures" / f"{name}.png"))

# %% [markdown]
# ## The worst mistakes, explained
#
# Grad-CAM shows what the score was attributed to. It does not localize disease and it does
# not show a cause.

# %%
explain(run, output_dir=output_dir)
for panel in sorted(result.run_dir.glob("gradcam/F?/*.png"))[:6]:
    display(Image(panel))

# %% [markdown]
# ## One page with everything

# %%
report(run, output_dir=output_dir).run_dir / "report.html"

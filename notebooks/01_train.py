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
# # Train the baseline
#
# A thin driver over the Python API: what happens here is what `medimg train` does.
# Change the lines in the first cell; run all. With `data_dir = None` the notebook draws
# phantom radiographs, so that it runs anywhere.

# %%
from pathlib import Path

from medimg_baseline_cls import Config, train, write_phantoms

data_dir = None  # Path("path/to/chest_xray"): train/<CLASS>/*, test/<CLASS>/*
arch = "resnet18"  # any timm name, such as "densenet121", or "monai:DenseNet121"
pretrained = False  # True: weights from the hub; or weights=Path("file.safetensors")
output_dir = Path("outputs")
settings = {"image_size": 96, "head_epochs": 0, "finetune_epochs": 8}

# %% [markdown]
# ## The data

# %%
if data_dir is None:
    data_dir = output_dir / "phantoms"
    if not data_dir.exists():
        write_phantoms(data_dir, num_train=600, num_test=200, image_size=96, seed=0)

# %% [markdown]
# ## Two stages: the head alone, then everything
#
# Patients stay whole, VAL is cut from train, and the epoch with the best validation
# average precision is kept. TEST is not touched here.

# %%
config = Config(
    project="notebook",
    data_dir=data_dir,
    output_dir=output_dir,
    arch=arch,
    pretrained=pretrained,
    **settings,
)
result = train(config)
result.run_dir

# %%
from IPython.display import Image, display

display(Image(result.run_dir / "figures" / "train_batch.png"))
display(Image(result.run_dir / "figures" / "training.png"))

# %% [markdown]
# Continue with `02_eval_gradcam.ipynb`.

"""The public names, once: `__init__.py` loads each from the module named here."""

from medimg_baseline_cls.config import Config as Config
from medimg_baseline_cls.phantom.image_folder import write_phantoms as write_phantoms
from medimg_baseline_cls.pipeline.commands.cache import list_cache as list_cache
from medimg_baseline_cls.pipeline.commands.cache import prune_cache as prune_cache
from medimg_baseline_cls.pipeline.commands.check import check as check
from medimg_baseline_cls.pipeline.commands.compare import compare as compare
from medimg_baseline_cls.pipeline.commands.cross_validate import cross_validate as cross_validate
from medimg_baseline_cls.pipeline.commands.cross_validate import (
    resume_cross_validation as resume_cross_validation,
)
from medimg_baseline_cls.pipeline.commands.demo import demo as demo
from medimg_baseline_cls.pipeline.commands.demo_volumes import demo_volumes as demo_volumes
from medimg_baseline_cls.pipeline.commands.doctor import doctor as doctor
from medimg_baseline_cls.pipeline.commands.evaluate import evaluate as evaluate
from medimg_baseline_cls.pipeline.commands.explain import explain as explain
from medimg_baseline_cls.pipeline.commands.external import external as external
from medimg_baseline_cls.pipeline.commands.external_sites import external_sites as external_sites
from medimg_baseline_cls.pipeline.commands.external_sweep import external_sweep as external_sweep
from medimg_baseline_cls.pipeline.commands.init import init as init
from medimg_baseline_cls.pipeline.commands.judge import judge as judge
from medimg_baseline_cls.pipeline.commands.list_runs import list_runs as list_runs
from medimg_baseline_cls.pipeline.commands.predict import predict as predict
from medimg_baseline_cls.pipeline.commands.report import report as report
from medimg_baseline_cls.pipeline.commands.resume_run import resume_run as resume_run
from medimg_baseline_cls.pipeline.commands.run import run as run
from medimg_baseline_cls.pipeline.commands.run_seeds import resume_seeds as resume_seeds
from medimg_baseline_cls.pipeline.commands.run_seeds import run_seeds as run_seeds
from medimg_baseline_cls.pipeline.commands.sweep import resume_sweep as resume_sweep
from medimg_baseline_cls.pipeline.commands.sweep import sweep as sweep
from medimg_baseline_cls.pipeline.commands.track import track as track
from medimg_baseline_cls.pipeline.commands.train import resume as resume
from medimg_baseline_cls.pipeline.commands.train import train as train
from medimg_baseline_cls.tracking.session import Tracking as Tracking
from medimg_baseline_cls.training.callbacks import Callback as Callback

__version__: str

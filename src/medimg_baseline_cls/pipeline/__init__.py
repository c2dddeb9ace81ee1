"""The commands as functions: the only room that sees the Config and all other rooms.

check     data folder -> audit              check.py
train     prepare -> build -> fit            training.py, prepare.py
evaluate  VAL -> thresholds -> TEST          evaluation.py
explain   mistakes -> maps -> panels         explanation.py
report    run folder -> page                 commands.py
predict   new files -> probabilities         prediction.py
run       the first four in a row            commands.py
cv        folds as runs -> joined, spread    cv.py
compare   runs on the same TEST images       compare.py
run_seeds the same run from several seeds     seeds.py
demo      phantoms -> run -> check of maps   demo.py
"""

from medimg_baseline_cls.data.phantom import write_phantoms
from medimg_baseline_cls.pipeline.check import CheckResult, check
from medimg_baseline_cls.pipeline.commands import report, run
from medimg_baseline_cls.pipeline.compare import compare
from medimg_baseline_cls.pipeline.cv import cross_validate, resume_cross_validation
from medimg_baseline_cls.pipeline.demo import demo
from medimg_baseline_cls.pipeline.evaluation import evaluate
from medimg_baseline_cls.pipeline.explanation import explain
from medimg_baseline_cls.pipeline.prediction import predict
from medimg_baseline_cls.pipeline.seeds import resume_seeds, run_seeds
from medimg_baseline_cls.pipeline.session import RunResult
from medimg_baseline_cls.pipeline.training import resume, train

__all__ = [
    "CheckResult",
    "RunResult",
    "check",
    "compare",
    "cross_validate",
    "demo",
    "evaluate",
    "explain",
    "predict",
    "report",
    "resume",
    "resume_cross_validation",
    "resume_seeds",
    "run",
    "run_seeds",
    "train",
    "write_phantoms",
]

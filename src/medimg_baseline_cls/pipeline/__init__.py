"""The commands and their steps: the only room that sees the Config and all other rooms.

check     data folder -> audit               commands/check.py
train     prepare -> build -> fit            commands/train.py
evaluate  VAL -> thresholds -> TEST          commands/evaluate.py
explain   mistakes -> maps -> panels         commands/explain.py
report    run folder -> page                 commands/report.py
predict   new files -> probabilities         commands/predict.py
run       train, evaluate, explain, report   commands/run.py
resume    what is missing of these four      commands/resume_run.py
cv        folds as runs -> joined, spread    commands/cross_validate.py
compare   runs on the same TEST images       commands/compare.py
seeds     the same run from several seeds    commands/run_seeds.py
demo      phantoms -> run -> check of maps   commands/demo.py, demo_volumes.py

The package's own `__init__` loads a command when it is first asked for: `predict` needs neither
plots nor statistics.
"""

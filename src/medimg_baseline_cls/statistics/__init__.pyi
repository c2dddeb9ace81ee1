"""The public names of the room, once: `__init__.py` loads each from the module named here."""

from medimg_baseline_cls.statistics.bootstrap import choose_in_resamples as choose_in_resamples
from medimg_baseline_cls.statistics.bootstrap import describe_values as describe_values
from medimg_baseline_cls.statistics.bootstrap import draw_weights as draw_weights
from medimg_baseline_cls.statistics.bootstrap import weighted_mean as weighted_mean
from medimg_baseline_cls.statistics.bootstrap import weighted_points as weighted_points
from medimg_baseline_cls.statistics.bootstrap import weighted_scores as weighted_scores
from medimg_baseline_cls.statistics.calibration import brier_parts as brier_parts
from medimg_baseline_cls.statistics.calibration import calibration_errors as calibration_errors
from medimg_baseline_cls.statistics.calibration import describe_calibration as describe_calibration
from medimg_baseline_cls.statistics.calibration import reliability_bins as reliability_bins
from medimg_baseline_cls.statistics.decision_curve import DecisionCurve as DecisionCurve
from medimg_baseline_cls.statistics.decision_curve import draw_decision_curve as draw_decision_curve
from medimg_baseline_cls.statistics.decision_curve import net_benefits as net_benefits
from medimg_baseline_cls.statistics.delong import DelongTest as DelongTest
from medimg_baseline_cls.statistics.delong import delong_error as delong_error
from medimg_baseline_cls.statistics.delong import delong_interval as delong_interval
from medimg_baseline_cls.statistics.delong import delong_test as delong_test
from medimg_baseline_cls.statistics.intervals import (
    clopper_pearson_interval as clopper_pearson_interval,
)
from medimg_baseline_cls.statistics.intervals import wilson_interval as wilson_interval
from medimg_baseline_cls.statistics.logistic import fit_line as fit_line
from medimg_baseline_cls.statistics.logistic import fit_offset as fit_offset
from medimg_baseline_cls.statistics.logistic import to_logits as to_logits
from medimg_baseline_cls.statistics.logistic import to_probabilities as to_probabilities
from medimg_baseline_cls.statistics.metrics import ConfusionCounts as ConfusionCounts
from medimg_baseline_cls.statistics.metrics import auroc_score as auroc_score
from medimg_baseline_cls.statistics.metrics import (
    average_precision_score as average_precision_score,
)
from medimg_baseline_cls.statistics.metrics import brier_score as brier_score
from medimg_baseline_cls.statistics.metrics import count_by_threshold as count_by_threshold
from medimg_baseline_cls.statistics.metrics import count_confusion as count_confusion
from medimg_baseline_cls.statistics.metrics import count_matrix as count_matrix
from medimg_baseline_cls.statistics.metrics import cross_entropy_error as cross_entropy_error
from medimg_baseline_cls.statistics.metrics import decide_classes as decide_classes
from medimg_baseline_cls.statistics.metrics import grade_values as grade_values
from medimg_baseline_cls.statistics.metrics import log_loss_error as log_loss_error
from medimg_baseline_cls.statistics.metrics import mean_grade_error as mean_grade_error
from medimg_baseline_cls.statistics.metrics import (
    operating_point_metrics as operating_point_metrics,
)
from medimg_baseline_cls.statistics.metrics import (
    quadratic_weighted_kappa as quadratic_weighted_kappa,
)
from medimg_baseline_cls.statistics.multilabel import exact_matches as exact_matches
from medimg_baseline_cls.statistics.multilabel import pool_pairs as pool_pairs
from medimg_baseline_cls.statistics.paired_tests import McnemarTest as McnemarTest
from medimg_baseline_cls.statistics.paired_tests import adjust_holm as adjust_holm
from medimg_baseline_cls.statistics.paired_tests import mcnemar_test as mcnemar_test
from medimg_baseline_cls.statistics.pooling import PooledEstimate as PooledEstimate
from medimg_baseline_cls.statistics.pooling import logit_errors as logit_errors
from medimg_baseline_cls.statistics.pooling import pool_sites as pool_sites
from medimg_baseline_cls.statistics.prevalence import average_precision_at as average_precision_at
from medimg_baseline_cls.statistics.prevalence import (
    exact_predictive_intervals as exact_predictive_intervals,
)
from medimg_baseline_cls.statistics.prevalence import f1_score_at as f1_score_at
from medimg_baseline_cls.statistics.prevalence import max_f1_threshold_at as max_f1_threshold_at
from medimg_baseline_cls.statistics.prevalence import predictive_values as predictive_values
from medimg_baseline_cls.statistics.recalibration import Recalibration as Recalibration
from medimg_baseline_cls.statistics.recalibration import fit_recalibration as fit_recalibration
from medimg_baseline_cls.statistics.sample_size import images_for_auroc as images_for_auroc
from medimg_baseline_cls.statistics.sample_size import images_for_ratio as images_for_ratio
from medimg_baseline_cls.statistics.sample_size import images_for_slope as images_for_slope
from medimg_baseline_cls.statistics.threshold_rules import choose_position as choose_position
from medimg_baseline_cls.statistics.updating import CrossFit as CrossFit
from medimg_baseline_cls.statistics.updating import assign_folds as assign_folds
from medimg_baseline_cls.statistics.updating import cross_choose as cross_choose
from medimg_baseline_cls.statistics.updating import cross_update as cross_update
from medimg_baseline_cls.statistics.updating import fit_update as fit_update

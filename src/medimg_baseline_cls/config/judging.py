"""The settings that `medimg judge` uses: what columns are, and how predictions are measured.

config.json of a judged run has only these: settings of training would not describe the model.
"""

JUDGE_SETTINGS = frozenset(
    """
    project output_dir class_names positive_class path_column label_columns label_separator
    group_column group_regex split_column subgroup_columns task uncertain_labels missing_labels
    aggregate target_sensitivity operating_point target_prevalence num_resamples subgroup_regex
    subgroup_bins subgroup_min_images num_hard_examples anonymous_ids seed
    """.split()
)
"""The names of these settings."""

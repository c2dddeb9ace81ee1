"""An augmentation policy: how far each random change may go."""

from medimg_baseline_cls.data.batches.augment import Policy

GENTLE = Policy(rotation=2, brightness=0.02)

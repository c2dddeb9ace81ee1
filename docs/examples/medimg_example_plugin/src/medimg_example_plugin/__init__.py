"""An example of a package that adds to medimg_baseline_cls: one module per door."""

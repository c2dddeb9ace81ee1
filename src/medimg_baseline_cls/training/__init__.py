"""Two stages of training, checkpoints, resuming."""

"""Images in, train, val and test out: whole patients, balanced classes, folds."""

"""Work in several processes: clips in parallel, folds shared, training on several devices; and how all of it ends."""

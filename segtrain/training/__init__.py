"""Training: loop, schedule, checkpoints, resuming, validation and logging."""

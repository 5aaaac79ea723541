"""The loop, optimisers and schedules, checkpoints, devices, progress."""

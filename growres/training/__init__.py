"""Training: the loop, optimisers and schedules, evaluation, FLOPs, checkpoints, and the end-to-end procedure."""

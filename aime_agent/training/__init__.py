"""Trainer, collector, evaluation, checkpoints, logs, seeds."""

"""The trainer, its reports, checkpoints and callbacks."""

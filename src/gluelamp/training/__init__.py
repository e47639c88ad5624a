"""The one trainer: batches, precision, the loop, checkpoints, what it cost."""

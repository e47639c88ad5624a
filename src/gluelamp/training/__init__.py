"""The trainer: batches, precision, passes, phases and evaluation."""

"""What to learn: task declarations, where their rows come from, encoding and metrics."""

"""What `gluelamp.reporting.compare` compares: files of predictions and labels, with their rows matched."""

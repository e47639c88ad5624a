"""What a method costs on a backbone of random weights: parameters, bytes, FLOPs, memory and time."""

"""The PEFT methods, one file each, grouped by what they act on: weights, activations, inputs."""

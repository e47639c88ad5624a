"""Encoders: the sources of their weights, the names of their parts, and fast dropout on a CPU."""

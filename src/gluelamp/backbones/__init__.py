"""Encoders: where their weights come from, how their parts are named, and how they run fast on a CPU."""

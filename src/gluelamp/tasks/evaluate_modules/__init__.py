"""Local modules of the ``evaluate`` library, so that no metric comes from the network."""

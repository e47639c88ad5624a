"""The sources of GLUE-shaped rows: the hub, a local folder in three layouts, or the sample."""

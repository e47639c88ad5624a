"""The metrics of the GLUE benchmark."""

"""One run, from its configuration to its record, and what is made from a finished run."""

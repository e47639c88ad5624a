"""One run, from its configuration to its record, and the commands on a finished run."""

"""The command line: Hydra composes the configuration, a function runs it, errors become exit codes."""

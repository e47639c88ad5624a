"""From a configuration to a record: the composition of all floors below."""

"""Methods that insert modules on hidden states."""

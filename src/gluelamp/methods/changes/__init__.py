"""The kinds of change that methods make to a model."""

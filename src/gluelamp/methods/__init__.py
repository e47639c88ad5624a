"""The PEFT methods, one file each, and in `changes` the edits of a model that they share."""

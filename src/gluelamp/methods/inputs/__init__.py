"""Methods that give the encoder more to read: learned keys and values, learned tokens."""

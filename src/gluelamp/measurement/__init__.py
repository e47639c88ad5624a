"""What a method costs, on an encoder's shape alone: values, bytes, operators and milliseconds."""

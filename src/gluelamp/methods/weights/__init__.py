"""Methods that change existing weights; they merge into the backbone and add no latency."""

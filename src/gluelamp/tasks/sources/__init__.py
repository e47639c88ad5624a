"""Where a task's rows come from: the hub, a local folder in one of two layouts, or the bundled sample."""

"""Where a task's rows come from: the hub, a local folder in two layouts, or the sample."""

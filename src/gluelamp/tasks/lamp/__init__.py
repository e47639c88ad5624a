"""The LaMP benchmark: tasks, official files, users, splits per user, scores."""

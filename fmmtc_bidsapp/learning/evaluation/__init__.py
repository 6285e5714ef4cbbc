"""What a run's predictions are worth: figures, tests, leaks, new people."""

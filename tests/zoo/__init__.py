"""Models that nobody prepared, and what netwright must find in each."""

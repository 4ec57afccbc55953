"""Built-in recipes: models and data that come with netwright."""

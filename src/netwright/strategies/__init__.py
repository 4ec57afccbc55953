"""Strategies: who is measured next. They know spaces, records and numbers, and neither networks nor devices."""

"""Strategies: which candidates are evaluated next. They know spaces, records and numbers, and neither networks nor
devices."""

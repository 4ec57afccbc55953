"""The results for people to see: one self-contained page, its figures, and the terminal's table."""

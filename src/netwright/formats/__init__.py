"""File formats that networks are handed back in, one per file, and the bundle that holds them."""

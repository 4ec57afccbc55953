"""Super-networks: a network, its axes, and the cut that serves training, counting, extraction and export."""

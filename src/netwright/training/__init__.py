"""Training of super-networks: the loop, who is sampled each step, checkpoints."""

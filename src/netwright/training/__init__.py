"""Training of super-networks: data, the loop, who is sampled each step, losses, checkpoints."""

"""What a network is for: what a batch is, what is learned from it, and how well it is done."""

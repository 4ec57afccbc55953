"""What can be searched: a super-network, an object of a person's own, a table of measured networks."""

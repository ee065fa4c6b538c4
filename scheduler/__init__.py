"""Where it runs: stage mapping, device choice and the queueing simulation."""

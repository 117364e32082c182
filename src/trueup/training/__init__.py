"""Training: the one loop, its sources, checkpoints and monitors."""

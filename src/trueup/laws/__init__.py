"""Laws every objective obeys."""

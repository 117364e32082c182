"""Small worlds where the truth is known."""

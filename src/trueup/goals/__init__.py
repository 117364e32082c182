"""Goals: what to align with, and what would show it."""

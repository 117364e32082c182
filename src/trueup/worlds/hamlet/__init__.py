"""Hamlet: a generated village whose every answer can be scored exactly."""

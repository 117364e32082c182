"""Feedback: what people and judges said about responses."""

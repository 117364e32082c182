"""trueup aligns a language model and proves that it is aligned."""

__version__ = "0.1.0"

"""Reports: what was shown, goal by goal, in one page."""

"""Package data: recipes, goals and templates."""

"""HTML and figures from tables."""

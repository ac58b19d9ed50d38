"""Small programs over the stages."""

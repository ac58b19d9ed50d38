"""A local page on which a person looks at crops and decides (docs/review.md)."""

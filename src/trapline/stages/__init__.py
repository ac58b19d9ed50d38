"""One pipeline stage per module, one public function each. Stages never import one another."""

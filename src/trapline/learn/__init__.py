"""The only importers of torch: models, weights, transforms, loader, loop, checkpoint, inference."""

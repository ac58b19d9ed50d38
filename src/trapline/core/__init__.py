"""Pure vocabulary of the house: configuration, schemas, geometry, errors. Imports nothing of trapline above it."""

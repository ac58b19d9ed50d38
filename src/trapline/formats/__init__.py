"""One external file format per module. External keys stop here."""

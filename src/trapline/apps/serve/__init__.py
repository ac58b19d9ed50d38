"""trapline serve: an exported classifier that answers over HTTP, or in this process, without torch."""

"""What a person should look at, found in tables and arrays: one kind of finding per module (docs/inspect.md).

Every finder returns ISSUES rows, worst first. Scores run from 0 to 1 and mean something within one kind only.
"""

"""The commands: one function each, named and worded like the Python call it makes. Imported when a command runs."""

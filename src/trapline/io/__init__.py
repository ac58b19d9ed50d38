"""Disk: where things lie, checked tables, the ledger of what is done, images in and out."""

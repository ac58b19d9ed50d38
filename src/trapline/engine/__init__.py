"""map(fn, rows) over parts, committed one by one."""

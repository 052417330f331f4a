"""The terminal: progress bars, and the notices of compiled libraries kept off it."""

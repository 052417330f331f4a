"""Training at low precision, framework-free: what a trainable method is, and what a search asks of it."""

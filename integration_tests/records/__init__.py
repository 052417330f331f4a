"""Every record of an op on every runtime that has it."""

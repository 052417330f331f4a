"""The simulation of a recipe as a torch module, and whether a converted model gives exactly its numbers."""

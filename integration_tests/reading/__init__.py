"""Models as people bring them: what is read, and that the converted model is its simulation."""

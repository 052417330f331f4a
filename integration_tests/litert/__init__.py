"""LiteRT files of torch models, and of their twins in Keras, run by the interpreter."""

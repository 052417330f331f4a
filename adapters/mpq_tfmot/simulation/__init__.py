"""The simulation of a recipe, called as a Keras model is."""

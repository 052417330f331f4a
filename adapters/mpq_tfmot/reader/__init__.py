"""Reading a tf_keras model into a Graph, and writing one back as a model."""

"""What a model is: its ops as data, without a framework; what is computed from them is computed once for all."""

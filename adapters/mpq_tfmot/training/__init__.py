"""TF-MOT's quantizers, configs and schemes, on fixed grids or on those that a method trains."""

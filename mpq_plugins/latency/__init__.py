"""Latency measured on the device: workloads, the rounds that measure them, and the tables that hold the results."""

"""Solving an allocation: choices as a sparse knapsack, a solver on top of HiGHS, and why each site got its bits."""

"""Tuning: every algorithm gets the same number of trials in every world, on seeds that the benchmark does not use."""

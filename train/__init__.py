"""The command line: train one agent, compare many, and report what came out."""

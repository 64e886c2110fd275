"""The worlds, a folder each: environment, response to the deployed policy, picture."""

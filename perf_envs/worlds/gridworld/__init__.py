"""Everything about the performative gridworld."""

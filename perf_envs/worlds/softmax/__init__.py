"""Everything about random worlds of the softmax family."""

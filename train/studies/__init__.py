"""Studies of one question each: what entropy, the step size and the world's answer do, and how planning converges."""

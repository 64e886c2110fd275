"""What all agents share: vectorised worlds, deployments, schedules."""

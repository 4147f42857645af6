"""Learning from annotated images: targets, losses, schedules and the training step."""

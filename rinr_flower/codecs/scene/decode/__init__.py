"""From the integers of a scene payload to pictures."""

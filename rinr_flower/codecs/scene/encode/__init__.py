"""From a clip to the integers of a scene payload."""

"""The integers of a scene payload: how they are laid out, and how they are coded."""

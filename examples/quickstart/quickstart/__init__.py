"""A Flower app whose devices share frames through a fog node."""

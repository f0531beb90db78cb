"""A Flower app of one's own whose models travel as compressed updates."""

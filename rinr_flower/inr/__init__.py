"""Implicit neural representations: networks and the fitting loop they share."""

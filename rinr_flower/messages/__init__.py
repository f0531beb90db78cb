"""What crosses the network between fog and devices: records and keys, metrics, signatures, training settings.

Both ends import this package and nothing of each other. ``docs/strategies.md`` describes the messages in words.
"""

"""The commands of ``rinr``, a file each."""

"""A working twin of every port, in memory: what tests, drills on paper and dry runs stand on."""

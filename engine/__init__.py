"""What is learned and chosen. Pure: arrays in, arrays out; no I/O, no clock."""

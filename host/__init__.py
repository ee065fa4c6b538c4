"""The software beside the device: quantise, compile, drive."""

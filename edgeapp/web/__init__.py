"""What the device shows and says over the network."""

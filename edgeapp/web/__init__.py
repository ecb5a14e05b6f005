"""The pages and interfaces that the device serves."""

"""What is right: float references, and integer models that the RTL matches bit for bit."""

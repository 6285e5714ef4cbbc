"""What is learnt about the inputs inside the training rows: scaling, tangent space, adjustment."""

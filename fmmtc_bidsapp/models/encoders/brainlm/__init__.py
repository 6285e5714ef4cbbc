"""BrainLM (Ortega Caro et al. 2024): published weights, and the same network without them."""

"""How a fit goes through both stages: held-out pairs, latent space, choices, pseudo-pairs."""

"""Neural networks: activations, softmaxes, cross entropies, normalisations."""

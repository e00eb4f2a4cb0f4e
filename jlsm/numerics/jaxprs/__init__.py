"""Code about programs: what JAX traced is taken apart, simplified and run in pieces."""

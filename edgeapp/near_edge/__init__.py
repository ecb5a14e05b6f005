"""The near edge: a real Triton, its models, its certificates."""

"""The builder of `pascal_context`."""

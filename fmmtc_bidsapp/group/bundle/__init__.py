"""The folder that `apply` needs: its schema, its evidence, its people, its card."""

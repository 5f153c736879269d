"""How good a checkpoint is: metrics, the table of figures, and contact sheets to read."""

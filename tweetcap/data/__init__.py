"""What the model learns from and is measured on: photos of any format, the starter corpus, features, animal words."""

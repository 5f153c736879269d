"""What the model learns from and is measured on: the starter corpus, its photos' features, animal words."""

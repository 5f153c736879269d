"""The questionnaire: its design, its answers, and what they say."""

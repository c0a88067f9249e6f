"""Trainings that a study makes: many `rtseg fit` with one recipe, resumed where an earlier command stopped."""

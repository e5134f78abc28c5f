"""Gates: measurement of a variant, the verdict on it, and the push that never happens without one."""

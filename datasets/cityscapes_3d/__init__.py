"""The builder of `nyud_v2`."""

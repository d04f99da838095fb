"""Measures of a ranking: mAP and CMC, open-set identification, verification."""

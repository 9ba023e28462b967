"""The image index, the stages of a run (extract, fit, select, score, fuse) and the scoring with stored models."""

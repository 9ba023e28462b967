"""`reconpatch-run paper-tables`: repeat the runs of the paper's tables and compare the figures."""

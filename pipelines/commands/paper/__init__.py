"""`paper-tables`: the runs behind the paper's tables, beside the published figures."""

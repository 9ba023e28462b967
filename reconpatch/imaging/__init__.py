"""Image files, the input of a backbone, anomaly maps, and the mapping between their pixels."""

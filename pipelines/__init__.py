"""Where ReConPatch runs: Ray, Parquet and the command line. The mathematics is in `reconpatch`."""

"""The implementation of each command of `reconpatch-run`, one module per command."""

"""Which recipe is the most accurate, and what the adapter adds: trials on real defects, and the page written from them.

    python -m study --data DIR --out STUDY            every part, then docs/accuracy.md

Every test set is split in two by a hash of the path. All choices are made on half A; half B is scored by the part
`final` alone. Trials are files: what is there is not run again.
"""

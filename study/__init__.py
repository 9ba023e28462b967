"""Which recipe is the most accurate, and what the adapter adds: trials on real defects, and a page with their results.

    python -m study --data DIR --out STUDY            every part, then docs/accuracy.md

Every test set is split into two halves by a hash of the path. All choices are made on half A; only the parts `choice`
and `final` score half B. Results are files: a trial whose file exists is not run again.
"""

"""Trials that compare the accuracy of recipes on real defects, and the page with their results.

    python -m study --data DIR --out STUDY            all parts, then the tables and plots of docs/accuracy.md

Every test set is split into two halves by a hash of the image path. All choices are made on half A; only the parts
`choice` and `final` score half B. Each trial stores its result in a file; a trial whose file exists is not run again.
"""

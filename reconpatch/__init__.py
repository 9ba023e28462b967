"""ReConPatch (Hyun et al., WACV 2024): what a good part looks like, learned from good images alone.

Arrays in, arrays out: this package knows neither Ray nor files' layouts; `pipelines` does.
"""

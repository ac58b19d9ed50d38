"""Learning curves as a picture: macro recall at places held out, by places learnt from and by crops of each."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trapline.report import figure_file

# Okabe & Ito 2008, told apart by every common kind of colour vision.
COLOUR = "#0072b2"
Panel = tuple[str, np.ndarray, np.ndarray]  # what is counted, sizes [divisions, k], recalls [divisions, k]


def draw(panels: Sequence[Panel], path: Path) -> None:
    """Draw one panel per curve: every division thin, their mean thick with its values.

    Raises:
        InputError: An ending that a figure cannot have.
    """
    figure_file.check(path)
    import matplotlib  # a second of import

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import NullLocator

    with pyplot.rc_context({"svg.hashsalt": "trapline", "font.size": 9}):
        figure, axes = pyplot.subplots(1, len(panels), figsize=(7.5, 3.2), sharey=True, layout="constrained")
        for axis, (what, sizes, recalls) in zip(np.atleast_1d(axes), panels, strict=True):
            for size, recall in zip(sizes, recalls, strict=True):
                axis.plot(size, recall, color="#999999", linewidth=0.6, zorder=1)
            middle, mean = sizes.mean(axis=0), recalls.mean(axis=0)
            axis.plot(middle, mean, color=COLOUR, marker="o", markersize=4, linewidth=2, zorder=3)
            for x, y in zip(middle, mean, strict=True):
                axis.annotate(f"{y:.2f}", (x, y), xytext=(0, 6), textcoords="offset points", ha="center", weight="bold")
            axis.set_xscale("log", base=2)
            axis.set_xticks(middle, [f"{x:,.0f}" for x in middle])
            axis.xaxis.set_minor_locator(NullLocator())
            axis.set_xlabel(what)
            axis.grid(axis="y", color="#dddddd", linewidth=0.6)
            axis.spines[["top", "right"]].set_visible(False)
        np.atleast_1d(axes)[0].set_ylabel("macro recall at places held out")
        figure_file.save(figure, path)
        pyplot.close(figure)

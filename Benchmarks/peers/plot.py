"""The table as a picture: a bar from the minimum, a whisker to the median, at the most threads."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from contenders import LUCIDA
from report import Result

OURS, THEIRS = "#d1495b", "#8d99ae"


def plot(results: list[Result], path: Path) -> None:
    """One panel for each network. Pale: misses the quality rule."""
    height = 1 + 0.3 * max(len(result.rows) for result in results)
    figure, panels = plt.subplots(1, len(results), figsize=(6.5 * len(results), height), squeeze=False)
    for panel, result in zip(panels[0], results, strict=True):
        threads = result.threads[-1]
        rows = sorted(result.rows, key=lambda row: (row.contender.avx2, row.minimum(threads)))
        for place, row in enumerate(rows):
            least, middle = row.minimum(threads), row.median(threads)
            missed = row.verdict is not None and not row.verdict.passes
            panel.barh(place, least, color=OURS if row.contender.engine == LUCIDA else THEIRS, alpha=0.4 if missed else 1)
            panel.plot([least, middle], [place, place], color="black", linewidth=1)
            panel.text(middle, place, f"  {least:.1f}" + ("  misses the quality rule" if missed else ""), va="center", fontsize=8)
        panel.set_yticks(range(len(rows)), [str(row.contender) for row in rows], fontsize=9)
        panel.invert_yaxis()
        panel.set_xlim(0, 1.25 * max(row.median(threads) for row in rows))
        panel.set_xlabel("ms a frame at 640 × 384: bar to the minimum, line to the median")
        panel.set_title(f"{result.name} network, {result.gmac:.2f} GMAC, {threads} threads", fontsize=11)
        panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)

"""The report of a recipe: one self-contained HTML page, and the files that it is made from.

Charts are SVG written here, and not by matplotlib or a bundled plotting library: they take their colours
from the page's style sheet and so follow light and dark, scale to a phone, carry text that can be read aloud
and searched, and cost a few kilobytes, where a bundled library is megabytes in every report and matplotlib's
SVG fixes colours and turns text into outlines.
"""

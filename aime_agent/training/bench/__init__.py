"""The world model against itself: every arm differs from another in one thing.

``arms``      what is compared        ``data``      stored episodes, with true foregrounds
``job``       one arm, task and seed  ``queue``     many of them over the cores
``tables``    Markdown from results   ``pictures``  dream strips and curves
"""

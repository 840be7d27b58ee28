"""The airports of the demo: one batch workflow a country, two steps an airport.

Importing this package registers the workflow, so that ``stepwell worker stepwell.cli.airports`` works. It needs the extra
``demo``.
"""

from stepwell.cli.airports.batch import process_country

__all__ = ["process_country"]

"""The report on customers: one page for people who act on it, made of the tables of all stages.

Each section has a module that computes its figures from the tables, draws them, and says in a sentence what they come
to; `page` puts the sections together. Nobody is named in it: it counts customers and never shows one.
"""

from cer_assets.insight.report.page import Report, customer_report
from cer_assets.insight.report.tables import Tables

__all__ = ["Report", "Tables", "customer_report"]

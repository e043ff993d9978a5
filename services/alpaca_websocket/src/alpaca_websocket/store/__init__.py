# SPDX-License-Identifier: GPL-3.0-or-later
"""What arrives, kept: a journal first, then Parquet, then the data bucket."""

# SPDX-License-Identifier: GPL-3.0-or-later
"""For those who use the server: follow the feed without a gap, and query what is stored."""

from .follow import Follower, FollowError, follow
from .history import query

__all__ = ["FollowError", "Follower", "follow", "query"]

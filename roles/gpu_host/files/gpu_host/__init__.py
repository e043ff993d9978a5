# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program of a GPU host: training jobs, their checkpoints, the spot notice and the idle stop.

Started as `algo-gpu`, on the distribution's Python, 3.10 or later. Python's standard library; boto3 only to store
checkpoints, PyTorch only to verify.
"""

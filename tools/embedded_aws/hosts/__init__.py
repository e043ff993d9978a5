"""Instances as real hosts."""

"""Fuzz campaigns: see campaign.py."""

"""Servers that speak the speech-to-speech protocols and replay a script: no account, no key.

What is measured against one is a simulation, and everything made from it says so.
"""

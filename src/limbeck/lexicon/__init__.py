"""Lexical databases."""

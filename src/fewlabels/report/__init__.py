"""Findings -> one self-contained page: `findings` says what a page shows, `page` writes it."""

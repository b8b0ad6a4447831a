"""Importers: what billing systems tell becomes plans and credits. Each event once."""

"""Prometheus metrics: plain integers kept where things happen, gathered at scrape."""

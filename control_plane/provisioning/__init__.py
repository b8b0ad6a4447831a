"""Changes to catalogs and customers, each in a transaction that somebody else began."""

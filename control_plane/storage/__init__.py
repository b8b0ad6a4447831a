"""The database: tables, migrations, and transactions off the event loop."""

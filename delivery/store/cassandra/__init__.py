"""The store on Cassandra. ``docs/subsystems/cassandra.md`` says how it keeps the promises of :mod:`delivery.store.interface`."""

"""The wire protocol: frames, their JSON and protobuf forms, error and close codes, versions. Imports nothing
of the project."""

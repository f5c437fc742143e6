"""Photos, videos, documents and voice notes: uploads, objects, the pipeline that makes them harmless, and their storage."""

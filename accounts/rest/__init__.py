"""What every REST API of the project shares: problem documents, authentication, parsing, versions, pages.

It lives here because authentication asks for devices, and every app above may import ``accounts``.
"""

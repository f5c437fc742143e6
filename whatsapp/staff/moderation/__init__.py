"""The pages on which moderators decide about what was reported: the queue, a case, figures, and what each wants to see.

``docs/moderation.md`` is the guide for who uses them. What a case may become, and what a decision does, is in
``accounts/services/{cases,sanctions}.py``; here is what people see and press.
"""

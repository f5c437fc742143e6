"""Programs that make uploaded media harmless and small, each in a process that may do little else.

Plain functions on files: no model, no task, no setting of Django. Everything here is about media that was uploaded without
end-to-end encryption; what is encrypted is never opened. ``docs/subsystems/media-tools.md`` is the page about it.
"""

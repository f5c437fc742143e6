"""How the main screen is laid out, in Textual's CSS. Here and not in a file of its own, so that it is always installed."""

CSS = """
ChatScreen { background: $background; }
ChatScreen #columns { height: 1fr; }
ChatScreen #side { width: 34; background: $surface; }
ChatScreen #main { width: 1fr; background: $background; }
ChatScreen.-very-wide #side { width: 44; }
ChatScreen #me { height: 1; padding: 0 1; background: $panel; text-wrap: nowrap; text-overflow: ellipsis; }
ChatScreen #title { height: 1; padding: 0 1; background: $panel; text-wrap: nowrap; }
ChatScreen #search { margin: 0; padding: 0 1; height: 1; background: $surface; }
ChatScreen #search:focus { background: $list-selected; }
ChatScreen.-high #search { margin: 1 0; background: $panel; }
ChatScreen.-high #search:focus { background: $list-selected; }
ChatScreen #chats { height: 1fr; }
ChatScreen #messages { height: 1fr; display: none; }
ChatScreen #composer { display: none; }
ChatScreen #newest { display: none; height: 1; width: 100%; background: $panel; }
ChatScreen #newest { text-align: center; color: $accent; text-style: bold; }
ChatScreen #nothing { height: 1fr; content-align: center middle; text-align: center; color: $list-dim; }
ChatScreen.-open #messages { display: block; }
ChatScreen.-open #composer { display: block; }
ChatScreen.-open #nothing { display: none; }
ChatScreen.-narrow #side { width: 100%; }
ChatScreen.-narrow #main { display: none; }
ChatScreen.-narrow.-talking #side { display: none; }
ChatScreen.-narrow.-talking #main { display: block; width: 100%; }
"""

#: Where all grounds are black, lines part them. Of the application: a screen's own rules do not see the theme's class.
CONTRAST = """
TerminalApp.-theme-chat-contrast ChatScreen #side { border-right: solid white; }
TerminalApp.-theme-chat-contrast ChatScreen #me { border-bottom: solid white; height: 2; }
TerminalApp.-theme-chat-contrast ChatScreen #title { border-bottom: solid white; height: 2; }
TerminalApp.-theme-chat-contrast ChatScreen #search { margin: 0; border-bottom: solid white; height: 2; }
TerminalApp.-theme-chat-contrast ChatScreen #composer { border-top: solid white; }
TerminalApp.-theme-chat-contrast ChatScreen.-narrow #side { border-right: none; }
"""

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
.-theme-chat-contrast #side { border-right: solid white; }
.-theme-chat-contrast #me, .-theme-chat-contrast #title { border-bottom: solid white; height: 2; }
.-theme-chat-contrast #search { border-bottom: solid white; height: 2; margin: 0; }
.-theme-chat-contrast #composer { border-top: solid white; min-height: 2; }
"""

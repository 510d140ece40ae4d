"""The mitmproxy engine: the same policy as gateway/net/, carried out by mitmproxy. `__main__.py` explains how."""

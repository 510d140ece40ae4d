"""`banyan inspect`: mitmweb over the gateway's mitmproxy engine, in the same process.

The policy, and how it is carried out, are gateway.mitm's. Here is what somebody who looks is shown of it: flows with their decisions, the
shadow's own asking beside them, and what comparing both comes to. Nothing here has a say in what happens to a request.
"""

"""A stand-in monolith: a small shop with what companies' Django projects have. It knows nothing of Banyan but one view, `banyan_identity`.

Everything here is what a user's own project would be; the gateway, the services and the console never import it.
"""

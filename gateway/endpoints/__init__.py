"""What is asked for, by endpoint: paths become templates, and templates get figures. Pure: the time is passed in, and nothing is asked.

shapes says what of a path must not be kept as it stands, templates learns which places of paths are parameters, figures and table count
in bounded memory, live keeps the last hour of a gateway, ranking says what to migrate next and suggest what to write for it.
"""
